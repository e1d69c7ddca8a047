"""The exceptions of the package: what handlers may raise and see, and what becomes an error frame."""

from __future__ import annotations


class Rejected(Exception):
    """A deliberate no of a handler: its caller gets the message and the code. It is not a bug and is never retried."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class Interrupted(BaseException):
    """Raised inside a running handler whose call was cancelled. Clean up in `finally`, and let it pass.

    It is no `Exception`, so that an ordinary `except Exception` does not swallow it.
    """


class HookTimeout(Interrupted):
    """Raised inside an `on_session_end` hook that runs longer than its limit: clean up in `finally`, let it pass."""

    def __init__(self, message: str = "the hook exceeded its time limit") -> None:
        super().__init__(message)


class SessionStateUnavailable(RuntimeError):
    """`session.state` was used where sessions hold no state; the text says why and which key to set."""


class StartFailed(Exception):
    """The application could not be loaded; the text is for a human."""


class ProtocolError(Exception):
    """The other end of a descriptor broke the rule `name` of the protocol. Fatal: the worker ends."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class CallRejection(Exception):
    """An answer of Herder's own: the call did not fit, or its result cannot be sent. Handlers never raise it."""

    def __init__(self, kind: str, message: str, type: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.type = type  # what an `exception` is shown as
