"""Tokens: the estimate, and pieces that never break a character."""

from hypothesis import given
from hypothesis import strategies as st

from helpers.local_api.ids import Noise, numbered, within
from helpers.local_api.tokens import cut, estimate, graphemes, pieces


def test_one_token_for_every_four_characters_rounded_up():
    assert [estimate("a" * length) for length in (0, 1, 4, 5, 400)] == [0, 1, 1, 2, 100]


def test_pieces_look_like_tokens():
    assert list(pieces("GPT-2 learns, slowly.")) == ["GPT", "-", "2", " learns", ",", " slowly", "."]
    assert list(pieces("124439808")) == ["124", "439", "808"]
    assert list(pieces("über Köpfe 1234")) == ["über", " Köpfe", " 123", "4"]
    assert list(pieces("日本語です。")) == ["日", "本", "語", "で", "す", "。"]
    assert max(map(len, pieces("a" * 100))) == 12


def test_characters_as_a_person_sees_them():
    whole = ["👨‍👩‍👧‍👦", "🇩🇪", "🇫🇷", "👋🏽", "e\u0301", "한", "각", "\r\n", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "1️⃣", "❤️", "नि"]
    for cluster in whole:
        assert graphemes(cluster) == [cluster], cluster
    assert graphemes("".join(whole)) == whole


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_pieces_make_up_the_text_and_end_between_characters(text):
    found = list(pieces(text))
    assert "".join(found) == text
    assert all(found)
    assert [each for piece in found for each in graphemes(piece)] == graphemes(text)


@given(st.text(st.characters(codec="utf-8"), max_size=60), st.integers(0, 20))
def test_a_cut_text_fits_and_ends_between_characters(text, tokens):
    kept = cut(text, tokens)
    assert text.startswith(kept)
    assert estimate(kept) <= tokens
    assert graphemes(text)[: len(graphemes(kept))] == graphemes(kept)
    if kept != text:
        following = graphemes(text)[len(graphemes(kept))]
        assert len(kept) + len(following) > 4 * tokens


def test_ids_are_stable_and_belong_together():
    assert numbered("resp", 1) == numbered("resp", 1) != numbered("resp", 2)
    response = numbered("resp", 1)
    first, second = within(response, "msg", 0), within(response, "msg", 1)
    assert first != second
    assert len(first) == 4 + 50
    assert first[4:22] == second[4:22] == response[5:23]


def test_noise_is_the_same_for_the_same_response():
    first, again, other = Noise("a"), Noise("a"), Noise("b")
    deltas = ["x", " word", "", "sixteen letters."]
    padded = [first.beside(delta) for delta in deltas]
    assert padded == [again.beside(delta) for delta in deltas] != [other.beside(delta) for delta in deltas]
    assert [len(each) for each in padded] == [15, 11, 16, 16]
