"""Plots: a matplotlib figure that carries its alternative text wherever it goes.

Here live the look that all plots share and ``Plot``, which shows and saves one. matplotlib is imported when the first
plot is made. Not here: what is plotted (``evaluation.py``), and drawings of runs (``diagrams.py``).
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any, Final

from helpers.errors import ConfigurationError, without_controls

__all__ = ["STYLES", "Plot", "drawable", "new_figure"]

# Marker, colour, line. The colours are those of Okabe and Ito, which people who see fewer colours can tell apart; the
# markers differ as well, so that nothing depends on colour.
STYLES: Final = (
    ("o", "#0072B2", "-"),
    ("s", "#D55E00", "--"),
    ("^", "#009E73", ":"),
    ("D", "#CC79A7", "-."),
)
_DOTS_PER_INCH: Final = 110


class Plot:
    """A matplotlib figure with the alternative text that belongs to it.

    In a notebook it is a PNG on a white ground, readable in a dark theme; its alternative text is in the output's
    metadata (that is where nbconvert looks for it) and in its plain text.

    Attributes:
        figure: the ``matplotlib.figure.Figure``, to change before it is shown.
        alt_text: what it shows, in words and numbers.
    """

    def __init__(self, figure: Any, alt_text: str) -> None:
        self.figure = figure
        self.alt_text = without_controls(alt_text)

    def __repr__(self) -> str:
        return self.alt_text

    def png(self) -> bytes:
        """Return the picture as PNG."""
        buffer = io.BytesIO()
        # Without the program's version in it, the same figure has the same bytes.
        self.figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
        return buffer.getvalue()

    def _repr_mimebundle_(
        self, include: Any = None, exclude: Any = None
    ) -> tuple[dict[str, str], dict[str, Any]]:
        picture = base64.b64encode(self.png()).decode("ascii")
        return {"image/png": picture, "text/plain": self.alt_text}, {"image/png": {"alt": self.alt_text}}

    def save(self, path: str | Path) -> Path:
        """Write the picture as PNG, with its alternative text inside (the field ``Description``).

        Raises:
            ConfigurationError: the path does not end in ``.png``.
        """
        path = Path(path)
        if path.suffix.lower() != ".png":
            raise ConfigurationError("A plot is saved as .png. Choose such a name.")
        self.figure.savefig(
            path, format="png", dpi=_DOTS_PER_INCH, metadata={"Description": self.alt_text, "Software": None}
        )
        return path


def drawable(text: str) -> str:
    """Return ``text`` so that matplotlib draws it as it is: between two dollar signs it would look for a formula."""
    return text.replace("$", r"\$")


def new_figure() -> tuple[Any, Any]:
    """Return a figure and its axes in the common look."""
    # matplotlib takes longer to import than everything else here, and only plots need it. Figure, not pyplot: pyplot
    # keeps figures for ever and may open windows.
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(8, 4.2), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.grid(axis="y", color="#d0d7de")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
