"""Errors: one sentence each, and never a key."""

import json
import ssl

import httpx2
import openai
import pytest

from helpers import errors

REQUEST = httpx2.Request(
    "POST", "https://api.openai.com/v1/responses", headers={"Authorization": "Bearer sk-planted-0123456789"}
)


def status_error(status, message="Something.", code=None, kind="invalid_request_error"):
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    client = openai.OpenAI(
        api_key="sk-planted-0123456789",
        max_retries=0,
        http_client=httpx2.Client(
            transport=httpx2.MockTransport(
                lambda request: httpx2.Response(
                    status, content=json.dumps(body), headers={"content-type": "application/json"}
                )
            )
        ),
    )
    with pytest.raises(openai.APIStatusError) as caught:
        client.responses.create(model="gpt-6-luna", input="Hello")
    return caught.value


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            status_error(401, "Incorrect API key provided: sk-pl***", "invalid_api_key"),
            "does not accept this key",
        ),
        (status_error(401), "does not accept this key"),
        (status_error(403, "Country not supported"), "Country not supported."),
        (status_error(404, "The model `x` does not exist", "model_not_found"), "helpers.model_table()"),
        (status_error(404, "No conversation with id 'conv_1'"), "may have been deleted"),
        (status_error(400, "busy", "conversation_locked"), "still busy"),
        (status_error(400, "Unknown parameter: 'colour'"), "Unknown parameter: 'colour'."),
        (status_error(429, "Slow down", "rate_limit_exceeded"), "Wait a minute"),
        (
            status_error(429, "No credit", "credit_balance_exhausted", "insufficient_quota"),
            "trying again will not help",
        ),
        (status_error(429, "No credit", None, "insufficient_quota"), "trying again will not help"),
        (status_error(500), "a problem of its own (status 500)"),
        (status_error(501, "This route is not built yet", "not_built_yet"), "not built yet."),
        (openai.APITimeoutError(request=REQUEST), "did not answer in time"),
        (openai.APIConnectionError(request=REQUEST), "no connection to OpenAI"),
        (errors.WorkshopError("The name is empty."), "The name is empty."),
        (errors.Stopped("You stopped the run."), "You stopped the run."),
        (KeyboardInterrupt(), "You stopped it"),
        (ValueError("odd"), "ValueError: odd"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_each_error_becomes_a_sentence_or_two(error, words):
    sentence = errors.explain(error)
    assert words in sentence
    assert "\n" not in sentence
    assert "sk-planted" not in sentence


def page(status, kind="text/html; charset=utf-8"):
    return openai.APIStatusError(
        "<html><title>Blocked</title></html>",
        response=httpx2.Response(
            status, text="<html>sk-planted</html>", headers={"content-type": kind}, request=REQUEST
        ),
        body="<html>sk-planted</html>",
    )


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, "A web page came in place"),
        (404, "A web page came in place"),
        (502, "or a proxy on the way to it"),
    ],
)
def test_the_page_of_a_proxy_is_not_taken_for_an_answer_of_the_api(status, words):
    sentence = errors.explain(page(status))
    assert words in sentence
    assert "<" not in sentence
    assert "refused this key" not in sentence
    assert errors.explain(page(403, "application/json")) == (
        "OpenAI refused this key: <html><title>Blocked</title></html>. Check the project's permissions and your region."
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        ("7", "Wait a minute"),
        ("600", "wait 10 minutes"),
        ("3600", "wait 60 minutes"),
        ("9000", "wait 3 hours"),
    ],
)
def test_too_many_requests_says_how_long_to_wait(seconds, words):
    response = httpx2.Response(429, headers={"retry-after": seconds}, request=REQUEST)
    assert words in errors.explain(openai.RateLimitError("Slow down", response=response, body=None))


def test_what_is_no_answer_of_the_api_is_expected_where_the_api_may_fail():
    error = errors.NotTheAPI("A web page came, with sk-planted-0123456789 in it.")
    assert isinstance(error, openai.APIError)
    assert errors.explain(error) == str(error) == "A web page came, with [key] in it."
    assert error.request is None
    assert not errors.can_retry(error)


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (ssl.SSLCertVerificationError("certificate verify failed"), "TLS inspection"),
        (httpx2.ProxyError("407 Proxy Authentication Required"), "proxy"),
        (httpx2.ConnectError("Name or service not known"), "no connection"),
    ],
)
def test_a_failed_connection_says_what_stood_in_the_way(cause, words):
    error = openai.APIConnectionError(request=REQUEST)
    error.__cause__ = cause
    assert words in errors.explain(error)


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided: sk-proj-abc123DEF456ghi789.",
        "key=sk-wrong",
        "my key is opaque-token-of-a-proxy",
    ],
)
def test_redact_removes_keys(text, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "opaque-token-of-a-proxy")
    shown = errors.redact(text)
    assert "[key]" in shown
    assert "abc123" not in shown
    assert "sk-wrong" not in shown
    assert "opaque" not in shown


def test_redact_leaves_ordinary_words_alone():
    assert errors.redact("A risk-averse task-force asks: sk?") == "A risk-averse task-force asks: sk?"


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "CLIENT_SECRET", "db_password", "SERVICE_CREDENTIALS", "apikey"],
)
def test_redact_removes_what_is_secret_by_its_name(name, monkeypatch):
    monkeypatch.setenv(name, "planted-0123456789")
    assert (
        errors.redact("It is planted-0123456789, twice: planted-0123456789.")
        == "It is [secret], twice: [secret]."
    )


def test_redact_leaves_other_variables_and_short_values_alone(monkeypatch):
    monkeypatch.setenv("KEYBOARD", "an ordinary word")
    monkeypatch.setenv("TOKEN_LIMIT", "ordinary-as-well")
    monkeypatch.setenv("SHORT_TOKEN", "seven77")
    monkeypatch.setenv("EMPTY_TOKEN", "        ")
    text = "an ordinary word, ordinary-as-well, seven77,         !"
    assert errors.redact(text) == text


def test_redact_sees_a_secret_that_came_and_went(monkeypatch):
    assert errors.redact("planted-0123456789") == "planted-0123456789"
    monkeypatch.setenv("HF_TOKEN", "planted-0123456789")
    assert errors.redact("planted-0123456789") == "[secret]"
    monkeypatch.setenv("HF_TOKEN", "another-0123456789")
    assert errors.redact("planted-0123456789 another-0123456789") == "planted-0123456789 [secret]"
    monkeypatch.delenv("HF_TOKEN")
    assert errors.redact("another-0123456789") == "another-0123456789"


def test_redact_finds_a_secret_inside_json(monkeypatch):
    secret = 'begin "é"\n\\end'
    monkeypatch.setenv("PRIVATE_KEY", secret)
    for ascii_only in (True, False):
        assert errors.redact(json.dumps({"a": [secret]}, ensure_ascii=ascii_only)) == '{"a": ["[secret]"]}'


def test_of_two_secrets_the_longer_one_goes_first(monkeypatch):
    monkeypatch.setenv("FIRST_TOKEN", "planted-01")
    monkeypatch.setenv("SECOND_TOKEN", "planted-0123456789")
    assert errors.redact("planted-0123456789") == "[secret]"


def test_hide_takes_out_a_key_that_is_nowhere_in_the_environment(monkeypatch):
    monkeypatch.setattr(errors, "_SECRETS", errors._Secrets())
    assert errors.redact("hidden-by-hand") == "hidden-by-hand"
    errors.hide(" hidden-by-hand\n")
    errors.hide("short")
    assert errors.redact("It is hidden-by-hand, short.") == "It is [key], short."


def test_our_errors_hold_no_key():
    error = errors.RunFailed("Refused: sk-proj-abc123DEF456ghi789", code="x", partial_text="so far")
    assert "abc123" not in str(error)
    assert error.partial_text == "so far"


def test_a_notebook_shows_the_sentence_without_a_stack():
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    shell = InteractiveShell()
    with capture_output() as shown:
        shell.run_cell("from helpers import Assistant\nAssistant(name='', instructions='Explain.')")
    assert "The name must not be empty" in shown.stdout + shown.stderr
    assert "assistant.py" not in shown.stdout + shown.stderr
