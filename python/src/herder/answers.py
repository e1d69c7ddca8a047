"""What happened to a call, as its final frame. Runs only off the fast path: a result is packed in the loop itself."""

from __future__ import annotations

import os
import sys

from herder import frames
from herder.codec import encode
from herder.errors import Interrupted, Refusal, Rejected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Any

MESSAGE_LIMIT = 8 * 1024  # characters
TRACEBACK_LIMIT = 32 * 1024
FOLDER = os.path.dirname(os.path.abspath(__file__))
OWN_MODULES = ("aio", "aio_calls", "aio_hooks", "aio_reader", "binding", "loop", "testing", "worker")
OWN = frozenset(os.path.join(FOLDER, name + ".py") for name in OWN_MODULES)


def failure(wire_id: int, error: BaseException, started: int, ended: int) -> bytes:
    """The error frame for what a call raised."""
    return error_frame(wire_id, describe(error), started, ended)


def error_frame(wire_id: int, fields: dict[str, Any], started: int = 0, ended: int = 0) -> bytes:
    """An error frame. Text that is no text (half surrogates) is replaced, so that this cannot fail."""
    try:
        payload = encode(fields)
    except Refusal:
        clean = {key: value.encode("utf-8", "replace").decode() for key, value in fields.items()}
        payload = encode(clean)
    return frames.answer(frames.ERROR, wire_id, started, ended, payload)


def describe(error: BaseException) -> dict[str, Any]:
    """The fields of an error frame: `kind`, `message`, and what else there is to say."""
    if isinstance(error, Refusal):
        return {"kind": error.kind, "message": error.message[:MESSAGE_LIMIT]}
    if isinstance(error, Rejected):
        fields = {"kind": "rejected", "message": text(error)}
        return fields if error.code is None else {**fields, "code": str(error.code)}
    if isinstance(error, Interrupted):
        return {"kind": "cancelled", "message": "the call was interrupted"}
    return raised("exception", error)


def raised(kind: str, error: BaseException) -> dict[str, Any]:
    """An exception of the application, with its traceback from the application's first frame on."""
    return {"kind": kind, "message": text(error), "type": type(error).__name__, "traceback": traceback_of(error)}


def log_hook(session: str, error: BaseException) -> None:
    """What an `on_session_end` hook raised: nobody waits for it, so it goes to the log."""
    log(f"on_session_end failed for session {session!r}:\n{traceback_of(error)}")


def log(text: str) -> None:
    """Write to standard error. Never raises an `OSError`: the application may have closed it."""
    try:
        print(text, file=sys.stderr)
    except (OSError, ValueError):  # the latter: the file object is closed
        pass


def text(error: BaseException) -> str:
    """`str(error)`, bounded, also for an exception that can't be printed."""
    try:
        return str(error)[:MESSAGE_LIMIT]
    except BaseException:
        return f"<{type(error).__name__} that can't be printed>"


def traceback_of(error: BaseException) -> str:
    """The traceback as text without Herder's own frames; the end of it when it is long."""
    import traceback

    try:
        whole = "".join(traceback.format_exception(type(error), error, trimmed(error.__traceback__)))
    except BaseException as failed:
        return f"<no traceback: {type(failed).__name__}>"
    return whole if len(whole) <= TRACEBACK_LIMIT else "...\n" + whole[-TRACEBACK_LIMIT:]


def trimmed(tb: TracebackType | None) -> TracebackType | None:
    """Skip the leading frames that are Herder's."""
    while tb is not None and tb.tb_frame.f_code.co_filename in OWN:
        tb = tb.tb_next
    return tb


def unknown(name: str, commands: Iterable[str]) -> Refusal:
    """There is no command `name`; these there are."""
    listed = ", ".join(sorted(commands)) or "none"
    return Refusal("unknown_command", f"there is no command {name!r}; there are: {listed}")


def too_large(name: str, size: int, limit: int) -> Refusal:
    """The encoded result does not fit into a frame."""
    return Refusal("too_large", f"the result of {name} has {size} bytes; a frame has at most {limit} (`max_frame`)")
