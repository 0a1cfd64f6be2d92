"""A plot carries its alternative text: in the notebook's output, and in the file."""

import struct
import subprocess
import sys

import pytest

from helpers.errors import ConfigurationError
from helpers.plots import Plot, new_figure


@pytest.fixture
def drawing():
    figure, axes = new_figure()
    axes.plot([0, 1], [0, 1])
    return Plot(figure, "Line from 0 to 1, for “chunks” ≥ 100.")


def test_a_notebook_gets_a_picture_with_alternative_text(drawing):
    data, metadata = drawing._repr_mimebundle_()
    assert set(data) == {"image/png", "text/plain"}
    assert data["text/plain"] == repr(drawing) == "Line from 0 to 1, for “chunks” ≥ 100."
    assert metadata == {"image/png": {"alt": drawing.alt_text}}


def test_the_same_figure_has_the_same_bytes(drawing):
    assert drawing.png() == drawing.png()


def test_a_saved_picture_holds_its_alternative_text(drawing, tmp_path):
    from PIL import Image

    path = drawing.save(tmp_path / "plot.png")
    with Image.open(path) as picture:
        assert picture.text["Description"] == drawing.alt_text
        assert picture.size == struct.unpack(">II", drawing.png()[16:24])


def test_only_png_is_written(drawing, tmp_path):
    with pytest.raises(ConfigurationError, match=r"\.png"):
        drawing.save(tmp_path / "plot.pdf")


def test_it_stands_on_white_in_a_dark_theme(drawing):
    from io import BytesIO

    from PIL import Image

    with Image.open(BytesIO(drawing.png())) as picture:
        assert picture.convert("RGBA").getpixel((1, 1)) == (255, 255, 255, 255)


def test_nothing_heavy_is_imported_before_the_first_plot():
    code = "import helpers.plots, helpers.evaluation, sys; print({'matplotlib', 'numpy', 'IPython'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
