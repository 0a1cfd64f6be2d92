"""The original lecture's transcript and training file, fetched from the internet into a folder that git ignores.

Here lives the one optional download of the course. What it fetches belongs to its authors, is not part of this
repository, and is text: nothing of it is ever run. Not here: uploading it (``files.py``).
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from helpers.errors import ConfigurationError, WorkshopError
from helpers.models import DATA_FOLDER

__all__ = ["fetch_lecture"]

_DATASET: Final = "dwb2023/yt-transcripts-v3"
_VIDEO: Final = "l8pRSuU81PU"
# https://huggingface.co/docs/dataset-viewer/quick_start: at most 100 rows for one request.
_PAGE: Final = 100
_MOST_ROWS: Final = 5_000
_MOST_BYTES: Final = 20 * 1024 * 1024
_TIMEOUT_S: Final = 20.0


def fetch_lecture(
    folder: str | Path | None = None,
    *,
    hub: str = "https://datasets-server.huggingface.co",
    raw: str = "https://raw.githubusercontent.com",
) -> list[Path]:
    """Fetch the lecture's transcript and karpathy/build-nanogpt's training file, and return where they are.

    A file that is there already is not fetched again. The transcript comes from the public data set
    ``dwb2023/yt-transcripts-v3`` on the Hugging Face hub, through the hub's viewer API
    (https://huggingface.co/docs/dataset-viewer/quick_start); only the rows of this video are kept, and if the data set
    does not say which video a row belongs to, all of them.

    Args:
        folder: where to put them; without one, ``data/external``, which git ignores.
        hub: the address of the viewer API.
        raw: the address that serves the raw files of GitHub repositories.

    Returns:
        ``lecture_transcript.md`` and ``build_nanogpt_train_gpt2.py``. Both are somebody else's work: read the terms at
        their sources before you pass them on.

    Raises:
        ConfigurationError: an address is not http or https.
        WorkshopError: one of them could not be fetched; what was fetched before stays.
    """
    target = Path(folder) if folder is not None else DATA_FOLDER / "external"
    target.mkdir(parents=True, exist_ok=True)
    transcript = target / "lecture_transcript.md"
    if not transcript.is_file():
        _write(transcript, _transcript(hub))
    program = target / "build_nanogpt_train_gpt2.py"
    if not program.is_file():
        address = f"{raw}/karpathy/build-nanogpt/master/train_gpt2.py"
        _write(program, _fetch(address).decode("utf-8", errors="replace"))
    return [transcript, program]


def _write(path: Path, text: str) -> None:
    # Written beside and renamed, so that an interrupt leaves no half file that looks like a whole one.
    part = path.with_suffix(path.suffix + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _transcript(hub: str) -> str:
    splits = _json(f"{hub}/splits?{urlencode({'dataset': _DATASET})}").get("splits") or []
    if not splits or not isinstance(splits[0], dict):
        raise WorkshopError(f"The data set {_DATASET} offers no rows at the moment. Try again later.")
    rows = list(_rows(hub, str(splits[0].get("config")), str(splits[0].get("split"))))
    of_the_video = [
        row for row in rows if any(_VIDEO in value for value in row.values() if isinstance(value, str))
    ]
    pieces = [text for row in (of_the_video or rows) if (text := _longest_text(row))]
    if not pieces:
        raise WorkshopError(f"The data set {_DATASET} holds no text that could be read. Try again later.")
    head = (
        "# Transcript of the lecture\n\n"
        f"Source: https://huggingface.co/datasets/{_DATASET}, video https://www.youtube.com/watch?v={_VIDEO}.\n"
    )
    return "\n\n".join([head, *pieces]) + "\n"


def _rows(hub: str, config: str, split: str) -> Iterator[dict[str, Any]]:
    offset = 0
    while offset < _MOST_ROWS:
        query = {"dataset": _DATASET, "config": config, "split": split, "offset": offset, "length": _PAGE}
        rows = _json(f"{hub}/rows?{urlencode(query)}").get("rows") or []
        for row in rows:
            if isinstance(row, dict) and isinstance(row.get("row"), dict):
                yield row["row"]
        if len(rows) < _PAGE:
            return
        offset += _PAGE


def _longest_text(row: dict[str, Any]) -> str:
    """Return the text of a row: the longest of its columns that is more than an id, a title or an address."""
    texts = [
        value for value in row.values() if isinstance(value, str) and not re.match(r"https?://\S+$", value)
    ]
    longest = max(texts, key=len, default="")
    return longest.strip() if " " in longest else ""


def _json(address: str) -> dict[str, Any]:
    try:
        value = json.loads(_fetch(address))
    except ValueError:
        raise WorkshopError(
            f"{urlsplit(address).hostname} answered with something that is not JSON. Try again later."
        ) from None
    return value if isinstance(value, dict) else {}


def _fetch(address: str) -> bytes:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https"):
        raise ConfigurationError(f"{address!r} is not a web address. It begins with https://.")
    why = ""
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_S) as answer:
            data: bytes = answer.read(_MOST_BYTES + 1)
        if len(data) <= _MOST_BYTES:
            return data
        why = "it is larger than 20 MB"
    except urllib.error.HTTPError as error:
        why = f"the server answered {error.code}"
    except (OSError, ValueError) as error:
        why = str(getattr(error, "reason", None) or type(error).__name__)
    raise WorkshopError(
        f"{parts.path.rsplit('/', 1)[-1]} could not be fetched from {parts.hostname} ({why}). The notebook works "
        "without it: leave this cell out, or run it again when you have internet."
    )
