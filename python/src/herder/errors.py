"""The exceptions of the package."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


MAX_DATA = 64 * 1024  # bytes of JSON


class Rejected(Exception):
    """Raised by a handler to reject a call. The caller gets the message, the code and the data; it is never retried.

    `data` is a JSON value of at most 64 KiB. `status`, from 400 to 499, is that of the response over HTTP; without it,
    422.
    """

    def __init__(self, message: str, code: str | None = None, *, data: Any = None, status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.data = data
        self.status = None if status is None else _checked_status(status)
        if data is not None:
            _check_data(data)


def _checked_status(status: Any) -> int:
    if not isinstance(status, int) or isinstance(status, bool) or not 400 <= status <= 499:
        raise ValueError(f"herder.Rejected(status={status!r}) is invalid; expected an integer from 400 to 499")
    return int(status)  # of `http.HTTPStatus`


def _check_data(data: Any) -> None:
    """Raise an exception here, in the handler, for data that could not be sent later."""
    from herder.codec import encode

    try:
        size = len(encode(data))
    except CallRejection as refused:
        raise TypeError(f"herder.Rejected(data=..) is invalid; expected a JSON value: {refused.message}") from None
    if size > MAX_DATA:
        raise ValueError(f"herder.Rejected(data=..) has {size} bytes of JSON; the limit is {MAX_DATA} bytes")


class Interrupted(BaseException):
    """Raised inside a running handler whose call was cancelled. Clean up in `finally` and do not suppress it.

    It is not an `Exception`, so `except Exception` does not catch it.
    """


class HookTimeout(Interrupted):
    """Raised inside an `on_session_end` hook that exceeds its time limit. Clean up in `finally`, do not suppress it."""

    def __init__(self, message: str = "the hook exceeded its time limit") -> None:
        super().__init__(message)


class SessionStateUnavailable(RuntimeError):
    """Raised by `session.state` in a pool without session state; the message names the key to set."""


class StartFailed(Exception):
    """The application could not be loaded. The message is shown to the user."""


class ProtocolError(Exception):
    """The host violated the rule `name` of the protocol. The worker exits."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class CallRejection(Exception):
    """A call that Herder answers with an error: its arguments do not fit, or its result cannot be sent."""

    def __init__(
        self, kind: str, message: str, type: str | None = None, errors: list[dict[str, Any]] | None = None
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.type = type  # the type name in the error, for the kind `exception`
        # For the kind `bad_arguments`: each value that does not fit, as `{"loc": [..], "msg": "..", "type": ".."}`.
        # Text in it is valid Unicode.
        self.errors = errors


class NoForm(Exception):
    """A value has no form in JSON. The message says why, and what to do."""
