"""What holds for all tests below this folder: generated inputs are not timed, because a busy machine is no defect."""

from __future__ import annotations

import hypothesis

hypothesis.settings.register_profile("without a clock", deadline=None)
hypothesis.settings.load_profile("without a clock")
