"""check(): tells a learner whether an exercise is solved.

Here lives the one function that the cells tagged ``check`` call. What is right is written in those cells; checks look
at structure (was the tool called, is the field there), never at wording.
"""

from __future__ import annotations

import os

__all__ = ["check"]


def check(condition: object, hint: str, *, done: str = "Done.") -> bool:
    """Print ✔ if ``condition`` holds, else ✘ and the hint.

    Args:
        condition: anything with a truth value.
        hint: what to try next.
        done: what to say when it holds.

    Returns:
        Whether it holds.

    Raises:
        AssertionError: if it does not hold and ``WORKSHOP_CHECKS=raise`` is set, as it is in the tests.

    Example:
        >>> check(1 + 1 == 2, "Count again.")
        ✔ Done.
        True
    """
    holds = bool(condition)
    if not holds and os.environ.get("WORKSHOP_CHECKS") == "raise":
        raise AssertionError(hint)
    print(f"✔ {done}" if holds else f"✘ Not yet. {hint}")
    return holds
