"""Printing: each call's text goes to it, everybody else's goes where it always went."""

import asyncio
import contextlib
import copy
import io
import sys
import threading

import pytest

from helpers.printed import Printed, catching


def replaced_stdout(monkeypatch):
    """Put a stream of our own in place. Not a fixture: pytest puts its own there before the test begins."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    return stream


def test_what_is_printed_inside_is_caught_and_the_rest_is_not(monkeypatch):
    stdout = replaced_stdout(monkeypatch)
    printed = Printed()
    print("before")
    with catching(printed):
        print("inside", flush=True)
        print("warning", file=sys.stderr)
        sys.stdout.writelines(["a", "b"])
    print("after")
    assert printed.close() == "inside\nwarning\nab"
    assert stdout.getvalue() == "before\nafter\n"
    assert sys.stdout is stdout


def test_another_thread_keeps_its_own_output(monkeypatch):
    stdout = replaced_stdout(monkeypatch)
    printed, inside, done = Printed(), threading.Event(), threading.Event()

    def function():
        with catching(printed):
            inside.set()
            done.wait(10)
            print("of the function")

    thread = threading.Thread(target=function)
    thread.start()
    assert inside.wait(10)
    print("of the notebook", flush=True)
    done.set()
    thread.join(10)
    assert printed.close() == "of the function\n"
    assert stdout.getvalue() == "of the notebook\n"


def test_tasks_of_one_thread_are_kept_apart(monkeypatch):
    stdout = replaced_stdout(monkeypatch)

    async def say(word, printed):
        with catching(printed):
            for _ in range(3):
                print(word, end="")
                await asyncio.sleep(0)

    async def main():
        await asyncio.gather(say("a", first), say("b", second))
        print("main")

    first, second = Printed(), Printed()
    asyncio.run(main())
    assert (first.close(), second.close()) == ("aaa", "bbb")
    assert stdout.getvalue() == "main\n"


def test_one_inside_the_other(monkeypatch):
    stdout = replaced_stdout(monkeypatch)
    outer, inner = Printed(), Printed()
    with catching(outer):
        print("a")
        with catching(inner):
            print("b")
        print("c")
    assert (outer.close(), inner.close()) == ("a\nc\n", "b\n")
    assert sys.stdout is stdout


def test_a_function_that_redirects_gets_its_own_text(monkeypatch):
    stdout = replaced_stdout(monkeypatch)
    printed, own = Printed(), io.StringIO()
    with catching(printed):
        with contextlib.redirect_stdout(own):
            print("redirected")
        print("not redirected")
    assert own.getvalue() == "redirected\n"
    assert printed.close() == "not redirected\n"
    assert sys.stdout is stdout


def test_somebody_who_puts_the_stream_back_later_breaks_nothing(monkeypatch):
    """As IPython does: it keeps what it found in sys.stdout and restores it when we are gone."""
    stdout = replaced_stdout(monkeypatch)
    with contextlib.ExitStack() as stack:
        with catching(Printed()):
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        printed = Printed()
        with catching(printed):
            print("caught")
        assert printed.close() == "caught\n"
    print("shown", flush=True)
    assert stdout.getvalue() == "shown\n"
    with catching(Printed()):
        pass
    assert sys.stdout is stdout


def test_what_comes_after_the_end_is_thrown_away(monkeypatch):
    stdout = replaced_stdout(monkeypatch)
    printed = Printed()
    with catching(printed):
        print("in time")
        text = printed.close()
        print("too late")
    assert text == "in time\n"
    assert printed.close() == "in time\n"
    assert stdout.getvalue() == ""


def test_a_flood_is_cut_and_says_so():
    printed = Printed()
    for _ in range(10_000):
        printed.write("A line of words.\n")
    text = printed.close()
    assert len(text) <= 10_000
    assert text.endswith("words.\n[cut: this is the beginning of 170,000 characters]")


def test_secrets_are_taken_out_also_when_they_come_in_pieces(monkeypatch):
    monkeypatch.setenv("SERVICE_TOKEN", "planted-0123456789")
    printed = Printed()
    for piece in ("token: plant", "ed-01234", "56789\n"):
        printed.write(piece)
    assert printed.close() == "token: [secret]\n"


def test_only_text_can_be_written():
    with pytest.raises(TypeError, match="must be str, not bytes"):
        Printed().write(b"bytes")


def test_the_stand_in_answers_like_the_stream_beneath(monkeypatch):
    stdout = replaced_stdout(monkeypatch)
    with catching(Printed()):
        assert not sys.stdout.isatty()
        assert sys.stdout.seekable()
        assert copy.copy(sys.stdout).beneath is stdout


def test_no_stream_at_all(monkeypatch):
    """As under pythonw: sys.stdout is None, and printing does nothing."""
    monkeypatch.setattr(sys, "stdout", None)
    printed = Printed()
    with catching(printed):
        print("caught")
        done = threading.Thread(target=lambda: print("nowhere", flush=True))
        done.start()
        done.join(10)
    assert printed.close() == "caught\n"
    assert sys.stdout is None
