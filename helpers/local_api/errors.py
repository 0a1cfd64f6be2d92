"""Errors in the shape that OpenAI sends them.

Here live the exception that a route raises and the sentences of the common refusals. Not here: the checks that
decide when to refuse (``checks.py``, ``requests.py``), and what the helpers make of an error for a person.
"""

from __future__ import annotations

from typing import Any, Final

_SHOWN_CHARACTERS: Final = 64


class APIError(Exception):
    """A request that is answered with an error.

    Args:
        status: the HTTP status.
        message: one or two sentences for a person.
        kind: OpenAI's ``type``, such as ``"invalid_request_error"``.
        param: the field that is at fault, such as ``"input[0].content"``.
        code: a word that a program can compare, such as ``"model_not_found"``.
        retry: whether the SDK may try again by itself; ``None`` leaves it to the status.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        retry: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param
        self.code = code
        self.retry = retry

    @property
    def body(self) -> dict[str, Any]:
        """The JSON body: all four fields are always there."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """The headers that belong to this error."""
        return {} if self.retry is None else {"x-should-retry": str(self.retry).lower()}


def shown(value: object) -> str:
    """Return ``value`` as it may stand in a message: never longer than a line."""
    text = str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:30]}...{text[-30:]}"


def invalid(message: str, *, param: str | None = None, code: str | None = None) -> APIError:
    """Return a 400: the request itself is wrong."""
    return APIError(400, message, param=None if param is None else shown(param), code=code)


def missing(param: str) -> APIError:
    """Return a 400: a field that must be there is not."""
    return invalid(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def unsupported(param: str, why: str) -> APIError:
    """Return a 400: OpenAI has this field, the recorded API has it not.

    Args:
        param: the field.
        why: a sentence that says what the recorded API does instead, or that it does not have this yet.
    """
    return invalid(
        f"Unsupported parameter: '{shown(param)}'. {why}", param=param, code="unsupported_parameter"
    )


def not_found(what: str, identifier: str) -> APIError:
    """Return a 404 for an id that does not exist (any more)."""
    return APIError(404, f"{what} with id '{shown(identifier)}' not found.")


def not_built_yet(what: str, *, param: str | None = None) -> APIError:
    """Return a 501: OpenAI can do this, the recorded API cannot yet. The SDK is told not to try again.

    Args:
        what: the beginning of the sentence, such as ``"The tool 'web_search'"``.
        param: the field, if a field is the reason.
    """
    return APIError(
        501,
        f"{what} is not part of the recorded API yet. If OpenAI has it, it works live: put OPENAI_API_KEY in .env and run "
        "connect() again.",
        kind="not_built_yet",
        param=param,
        code="not_built_yet",
        retry=False,
    )
