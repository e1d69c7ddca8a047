"""Builds the error frames of calls, off the fast path: the loop itself packs results.

Exceptions are objects of the application: only `herder.text` converts them to text.
"""

from __future__ import annotations

import os
import sys

from herder import frames, stdlib
from herder.codec import encode
from herder.errors import Interrupted, CallRejection, Rejected
from herder.text import PRINTED, escape_surrogates, type_name, with_recursion_limit
from herder.text import text as text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Any

MARK = "...\n"  # stands for what was cut off
TRACEBACK_LIMIT = 32 * 1024  # characters
FRAMES = 1000  # of a traceback, the last ones
CODE = 256  # characters; a longer code is left out before the message is truncate_field
LARGEST = 1 << 30  # used where no `max_frame` applies
FALLBACK_ERROR = b'{"kind":"exception","message":"<an exception that cannot be described>"}'
FOLDER = os.path.dirname(os.path.abspath(__file__))
HERDER_MODULES = ("aio", "aio_calls", "aio_hooks", "aio_reader", "binding", "loop", "testing", "worker")
HERDER_FILES = frozenset(os.path.join(FOLDER, name + ".py") for name in HERDER_MODULES)


def failure(wire_id: int, error: BaseException, started: int, ended: int, max_frame: int = LARGEST) -> bytes:
    """Return the error frame for what a call raised. Never raises, whatever `error` does when it is printed."""
    try:
        return error_frame(wire_id, describe(error), started, ended, max_frame)
    except BaseException:  # too little memory, or an exception that another thread raised in this one
        return frames.answer(frames.ERROR, wire_id, started, ended, FALLBACK_ERROR)


def error_frame(
    wire_id: int, fields: dict[str, str], started: int = 0, ended: int = 0, max_frame: int = LARGEST
) -> bytes:
    """Return an error frame of at most `max_frame` bytes. Values of `fields` are exact strings of valid Unicode."""
    return frames.answer(frames.ERROR, wire_id, started, ended, encode_within(fields, max_frame - frames.STAMPS_SIZE))


def encode_within(fields: dict[str, str], room: int) -> bytes:
    """Encode `fields` into at most `room` bytes: shortens or drops first the traceback, then the others."""
    payload = encode(fields)
    long_code = ["code"] if len(fields.get("code", "")) > CODE else []
    for name in ("traceback", *long_code, "message", "code", "type"):
        kept = fields.get(name, "")
        while kept and len(payload) > room:
            kept = truncate_field(name, kept, len(payload) - room)
            shown = MARK + kept if kept and name == "traceback" else kept
            fields = {**fields, name: shown} if shown or name == "message" else without(fields, name)
            payload = encode(fields)
    return payload


def truncate_field(name: str, value: str, excess: int) -> str:
    """Return less of `value`, to save about `excess` bytes of JSON. A code is dropped: part of it would be another."""
    size = len(encode(value))
    left = 0 if name == "code" else len(value) * max(size - excess, 0) // size - 2 * len(MARK)
    if left <= 0:
        return ""
    return value[-left:] if name == "traceback" else value[:left]


def without(fields: dict[str, str], name: str) -> dict[str, str]:
    """Return `fields` without one of them."""
    return {key: value for key, value in fields.items() if key != name}


def describe(error: Any) -> dict[str, str]:
    """Return the fields of an error frame: `kind`, `message`, and those of the others that apply."""
    kind = type(error)  # `isinstance` would ask the object for its `__class__`
    if issubclass(kind, CallRejection):
        given = error.kind if "kind" in error.__dict__ else "exception"
        # As it is: `text` gives something else if it is disturbed, and the host knows only some kinds.
        exact = given if type(given) is str else text(given)
        return {"message": "", **field("message", error), **field("type", error), "kind": exact}
    if issubclass(kind, Rejected):
        return {"kind": "rejected", "message": text(error), **field("code", error)}
    if issubclass(kind, Interrupted):
        return {"kind": "cancelled", "message": "the call was interrupted"}
    return raised("exception", error)


def field(name: str, error: BaseException) -> dict[str, str]:
    """Return an attribute that may be None, or absent: a subclass need not have called `__init__` of its base."""
    try:
        value = getattr(error, name)
    except BaseException:
        return {}
    return {} if value is None else {name: text(value)}


def raised(kind: str, error: BaseException) -> dict[str, str]:
    """Describe an exception of the application, with its traceback from the application's first frame on."""
    return {"kind": kind, "message": text(error), "type": type_name(error), "traceback": traceback_of(error)}


def log_hook(session: str, error: BaseException) -> None:
    """Log what an `on_session_end` hook raised: no caller waits for it."""
    log(f"herder: on_session_end failed for session {session!r}:\n{traceback_of(error)}")


def log_unhandled(error: BaseException) -> None:
    """Log what code of the application raised outside of a call. Never raises, which would be logged again."""
    log(f"herder: ignored an exception raised outside a call:\n{traceback_of(error)}")


def log(line: str) -> None:
    """Write to standard error. Never raises: the application may have closed it, or put another object in its place."""
    try:
        print(line, file=sys.stderr)
    except BaseException:
        pass


def traceback_of(error: BaseException) -> str:
    """Return the traceback without Herder's own frames, as text; the end of it when it is long. Never raises."""
    try:
        whole = with_recursion_limit(PRINTED, _traceback_of, error)
        return whole if len(whole) <= TRACEBACK_LIMIT else MARK + whole[-TRACEBACK_LIMIT:]
    except BaseException as failed:
        return f"<no traceback: {type_name(failed)}>"


def _traceback_of(error: BaseException) -> str:
    tb = trimmed(BaseException.__dict__["__traceback__"].__get__(error))
    try:
        format_exception = stdlib.module("traceback").format_exception
        with stdlib.prefer_stdlib():  # it imports more while it formats
            return escape_surrogates("".join(format_exception(type(error), error, tb)))
    except BaseException:  # the exception raises, or the application has replaced a module that is needed
        return escape_surrogates(_minimal_traceback(error, tb))


def _minimal_traceback(error: BaseException, tb: TracebackType | None) -> str:
    """Return a traceback without the help of any module: no source lines, and no chained exceptions."""
    lines = ["Traceback (most recent call last):"]
    while tb is not None:
        code = tb.tb_frame.f_code
        lines.append(f'  File "{code.co_filename}", line {tb.tb_lineno}, in {code.co_name}')
        tb = tb.tb_next
    return "\n".join([*lines, f"{type_name(error)}: {text(error)}", ""])


def trimmed(tb: TracebackType | None) -> TracebackType | None:
    """Skip the leading frames that are Herder's, and all but the last `FRAMES`: each costs memory when printed."""
    while tb is not None and tb.tb_frame.f_code.co_filename in HERDER_FILES:
        tb = tb.tb_next
    ahead = tb
    for _ in range(FRAMES):
        if ahead is None:
            return tb
        ahead = ahead.tb_next
    while tb is not None and ahead is not None:
        tb, ahead = tb.tb_next, ahead.tb_next
    return tb


def unknown(name: str, commands: Iterable[str]) -> CallRejection:
    """There is no command `name`; these there are."""
    listed = ", ".join(sorted(commands)) or "none"
    return CallRejection("unknown_command", f"command {name!r} is not registered; available commands: {listed}")


def too_large(name: str, size: int, limit: int) -> CallRejection:
    """The encoded result does not fit into a frame."""
    return CallRejection("too_large", f"the result of {name} has {size} bytes; the limit is {limit} bytes (`max_frame`)")
