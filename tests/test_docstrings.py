"""Docstrings: the description without the sections, and each parameter's text, in the styles that people write."""

import pytest

from helpers.docstrings import read_docstring

GOOGLE = """Search the web.

    Use it for facts that may have changed
    since last year.

    Args:
        query: what to look for,
            in a few words.
        limit (int, optional): at most so many (up to 10): fewer is quicker.
        elsewhere: belongs to another function.

    Returns:
        A list.
    """
NUMPY = """Search the web.

    Use it for facts that may have changed
    since last year.

    Parameters
    ----------
    query : str
        what to look for,
        in a few words.
    limit : {1, 10}, optional
        at most so many (up to 10): fewer is quicker.

    Returns
    -------
    list
        Hits.
    """
REST = """Search the web.

    Use it for facts that may have changed
    since last year.

    :param query: what to look for,
        in a few words.
    :type query: str
    :param int limit: at most so many (up to 10): fewer is quicker.
    :returns: a list
    :raises ValueError: if it is empty
    """
EPYTEXT = REST.replace(":param", "@param").replace(":type", "@type").replace(":returns", "@returns")


@pytest.mark.parametrize(
    "docstring", [GOOGLE, NUMPY, REST, EPYTEXT], ids=["google", "numpy", "rest", "epytext"]
)
def test_the_same_is_read_in_each_style(docstring):
    description, said = read_docstring(docstring, ["query", "limit"])
    assert description == "Search the web.\n\nUse it for facts that may have changed since last year."
    assert said == {
        "query": "what to look for, in a few words.",
        "limit": "at most so many (up to 10): fewer is quicker.",
    }


def test_several_numpy_parameters_can_share_a_text():
    docstring = "Add.\n\nParameters\n----------\nfirst, second : float\n    A number.\n\n    Any one."
    assert read_docstring(docstring, ["first", "second"])[1] == {
        "first": "A number. Any one.",
        "second": "A number. Any one.",
    }


def test_a_list_keeps_its_lines_and_an_example_in_code_goes():
    description, _ = read_docstring(
        "Find ``files``.\n\nGood for:\n- code\n- text\n\n>>> find('a')\n['a']\n\nQuick."
    )
    assert description == "Find `files`.\n\nGood for:\n- code\n- text\n\nQuick."


@pytest.mark.parametrize(
    ("docstring", "description"),
    [
        (None, ""),
        ("", ""),
        ("  \n ", ""),
        ("Args:\n    a: nothing before it.", ""),
        ("One line", "One line"),
        ("Note: this is no section.", "Note: this is no section."),
        ("First.\n\nRaises:\n    ValueError: no.\n\nAfter the sections.", "First."),
        ("Parse ``a:b: c`` and :class:`Thing` too.", "Parse `a:b: c` and :class:`Thing` too."),
    ],
)
def test_what_counts_as_the_description(docstring, description):
    assert read_docstring(docstring, ["a"])[0] == description
