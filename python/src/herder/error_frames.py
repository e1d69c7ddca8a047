"""Builds the error frames of calls. The loop itself packs results, which is the fast path.

Exceptions are objects of the application, so only `herder.text` converts them to text.
"""

from __future__ import annotations

import os
import sys

from herder import frames, stdlib
from herder.codec import decode, encode
from herder.errors import CallRejection, Interrupted, Rejected
from herder.text import PRINT_RECURSION_LIMIT, escape_surrogates, type_name, with_recursion_limit
from herder.text import text as text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Any

TRUNCATION_MARK = "...\n"  # replaces the beginning of a traceback that is too long
TRACEBACK_LIMIT = 32 * 1024  # characters
MAX_TRACEBACK_FRAMES = 1000  # the last frames of a traceback are kept
MAX_CODE = 256  # characters; a longer code is dropped before the message is shortened
UNLIMITED = 1 << 30  # bytes; used where no `max_frame` applies
FALLBACK_ERROR = b'{"kind":"exception","message":"<an exception that cannot be described>"}'
FOLDER = os.path.dirname(os.path.abspath(__file__))
HERDER_MODULES = (
    "aio",
    "aio_batches",
    "aio_calls",
    "aio_hooks",
    "aio_reader",
    "aio_starts",
    "aio_streams",
    "aio_threads",
    "batches",
    "binding",
    "breakpoints",
    "dependencies",
    "dependency_streams",
    "dependency_values",
    "hooks",
    "lifecycle",
    "loop",
    "signatures",
    "streams",
    "testing",
    "testing_streams",
    "typed",
    "typed_arguments",
    "worker",
)
CONVERTERS = (
    "typed_constraints",
    "typed_containers",
    "typed_foreign",
    "typed_nodes",
    "typed_records",
    "typed_source",
    "typed_values",
)
GENERATED = "<herder "  # the start of the names of the files that `typed_source` generates
HERDER_FILES = frozenset(os.path.join(FOLDER, name + ".py") for name in HERDER_MODULES + CONVERTERS)


def exception_frame(wire_id: int, error: BaseException, started: int, ended: int, max_frame: int = UNLIMITED) -> bytes:
    """Return the error frame for an exception of a call. Never raises, whatever `error` does when it is printed."""
    return described_frame(wire_id, describe, error, started, ended, max_frame)


def interrupt_frame(wire_id: int, error: BaseException, started: int, ended: int, max_frame: int = UNLIMITED) -> bytes:
    """Return the error frame of an interrupted call, whatever exception its handler ended with. Never raises."""
    return described_frame(wire_id, describe_interrupt, error, started, ended, max_frame)


def described_frame(
    wire_id: int,
    described: Callable[[BaseException], dict[str, Any]],
    error: BaseException,
    started: int,
    ended: int,
    max_frame: int,
) -> bytes:
    """Return the error frame with the fields that a function returns for an exception. Never raises."""
    try:
        fields = described(error)
        if fields["kind"] == "bad_arguments":  # the handler has not run
            started = ended = 0
        return error_frame(wire_id, fields, started, ended, max_frame)
    except BaseException:  # no memory, or an exception that another thread raised in this one
        return frames.answer(frames.ERROR, wire_id, started, ended, FALLBACK_ERROR)


def error_frame(
    wire_id: int, fields: dict[str, Any], started: int = 0, ended: int = 0, max_frame: int = UNLIMITED
) -> bytes:
    """Return an error frame of at most `max_frame` bytes. The values of `fields` must be exact `str` objects.

    Only `errors` is a list, `status` a number, and `data` any JSON value.
    """
    return frames.answer(frames.ERROR, wire_id, started, ended, encode_within(fields, max_frame - frames.STAMPS_SIZE))


def encode_within(fields: dict[str, Any], room: int) -> bytes:
    """Encode `fields` into at most `room` bytes: drop `data` and the last `errors`, then shorten the other fields."""
    payload = encode(fields)
    if len(payload) <= room:
        return payload
    if "data" in fields:
        fields = without_field(fields, "data")
        payload = encode(fields)
    while len(payload) > room and "errors" in fields:
        kept = fields["errors"][: len(fields["errors"]) // 2]
        fields = {**fields, "errors": kept} if kept else without_field(fields, "errors")
        payload = encode(fields)
    long_code = ["code"] if len(fields.get("code", "")) > MAX_CODE else []
    for name in ("traceback", *long_code, "message", "code", "type"):
        kept = fields.get(name, "")
        while kept and len(payload) > room:
            kept = truncate_field(name, kept, len(payload) - room)
            shown = TRUNCATION_MARK + kept if kept and name == "traceback" else kept
            fields = {**fields, name: shown} if shown or name == "message" else without_field(fields, name)
            payload = encode(fields)
    return payload


def truncate_field(name: str, value: str, excess: int) -> str:
    """Shorten `value` to save about `excess` bytes of JSON. A code is dropped: a part of it would be another code."""
    size = len(encode(value))
    left = 0 if name == "code" else len(value) * max(size - excess, 0) // size - 2 * len(TRUNCATION_MARK)
    if left <= 0:
        return ""
    return value[-left:] if name == "traceback" else value[:left]


def without_field(fields: dict[str, Any], name: str) -> dict[str, Any]:
    """Return `fields` without the field `name`."""
    return {key: value for key, value in fields.items() if key != name}


def describe(error: Any) -> dict[str, Any]:
    """Return the fields of an error frame: `kind`, `message`, and the other fields that apply."""
    kind = type(error)  # not `isinstance`: that runs code of the object, for its `__class__`
    if issubclass(kind, CallRejection):
        given = error.kind if "kind" in error.__dict__ else "exception"
        # Used unchanged if possible: `text` returns a replacement if an exception disturbs it, and the host accepts
        # only the kinds of the protocol.
        exact = given if type(given) is str else text(given)
        fields = {"message": "", **optional_field("message", error), **optional_field("type", error), "kind": exact}
        errors = error.__dict__.get("errors")
        return {**fields, "errors": errors} if errors else fields
    if issubclass(kind, Rejected):
        return {"kind": "rejected", "message": text(error), **optional_field("code", error), **rejected_fields(error)}
    if issubclass(kind, Interrupted):
        return describe_interrupt(error)
    return describe_exception("exception", error)


def describe_interrupt(error: BaseException) -> dict[str, str]:
    """Describe the exception with which an interrupted handler ended. Its traceback shows where the handler was."""
    return {"kind": "cancelled", "message": "the call was interrupted", "traceback": format_traceback(error)}


def optional_field(name: str, error: BaseException) -> dict[str, str]:
    """Return the attribute `name` as a field, or nothing if it is None or missing.

    It is missing if a subclass does not call `__init__` of its base.
    """
    try:
        value = getattr(error, name)
    except BaseException:
        return {}
    return {} if value is None else {name: text(value)}


def rejected_fields(error: Rejected) -> dict[str, Any]:
    """Return the status and the data of a rejection, as far as they are still valid: both can be changed."""
    fields: dict[str, Any] = {}
    status, data = error.__dict__.get("status"), error.__dict__.get("data")
    if type(status) is int and 400 <= status <= 499:
        fields["status"] = status
    if data is not None:
        try:
            fields["data"] = decode(encode(data))
        except CallRejection as refused:
            log(f"herder: the data of a Rejected cannot be sent: {refused.message}")
    return fields


def describe_exception(kind: str, error: BaseException) -> dict[str, str]:
    """Describe an exception of the application; its traceback begins with the application's first frame."""
    return {"kind": kind, "message": text(error), "type": type_name(error), "traceback": format_traceback(error)}


def log_hook_error(session: str, error: BaseException) -> None:
    """Log an exception of an `on_session_end` hook: there is no caller that could receive it."""
    log(f"herder: on_session_end failed for session {session!r}:\n{format_traceback(error)}")


def log_unhandled(error: BaseException) -> None:
    """Log an exception that the application raised outside a call. Never raises."""
    log(f"herder: ignored an exception raised outside a call:\n{format_traceback(error)}")


def log(line: str) -> None:
    """Write a line to standard error. Never raises, even if the application has closed or replaced the stream."""
    try:
        print(line, file=sys.stderr)
    except BaseException:
        pass


def format_traceback(error: BaseException) -> str:
    """Return the traceback as text without Herder's own frames; only its end if it is long. Never raises."""
    try:
        full = with_recursion_limit(PRINT_RECURSION_LIMIT, _format_traceback, error)
        return full if len(full) <= TRACEBACK_LIMIT else TRUNCATION_MARK + full[-TRACEBACK_LIMIT:]
    except BaseException as failed:
        return f"<no traceback: {type_name(failed)}>"


def _format_traceback(error: BaseException) -> str:
    tb = skip_herder_frames(BaseException.__dict__["__traceback__"].__get__(error))
    try:
        format_exception = stdlib.import_stdlib("traceback").format_exception
        with stdlib.prefer_stdlib():  # `traceback` imports more modules while it formats
            return escape_surrogates("".join(format_exception(type(error), error, tb)))
    except BaseException:  # printing the exception raises, or the application has replaced a module that is needed
        return escape_surrogates(_minimal_traceback(error, tb))


def _minimal_traceback(error: BaseException, tb: TracebackType | None) -> str:
    """Format a traceback without any module: no source lines and no chained exceptions."""
    lines = ["Traceback (most recent call last):"]
    while tb is not None:
        code = tb.tb_frame.f_code
        lines.append(f'  File "{code.co_filename}", line {tb.tb_lineno}, in {code.co_name}')
        tb = tb.tb_next
    return "\n".join([*lines, f"{type_name(error)}: {text(error)}", ""])


def skip_herder_frames(tb: TracebackType | None) -> TracebackType | None:
    """Skip the leading frames of Herder, then all but the last `MAX_TRACEBACK_FRAMES`: each costs memory if printed."""
    while tb is not None and is_ours(tb.tb_frame.f_code.co_filename):
        tb = tb.tb_next
    ahead = tb
    for _ in range(MAX_TRACEBACK_FRAMES):
        if ahead is None:
            return tb
        ahead = ahead.tb_next
    while tb is not None and ahead is not None:
        tb, ahead = tb.tb_next, ahead.tb_next
    return tb


def is_ours(file: str) -> bool:
    """Whether a file is Herder's own code, which calls the application."""
    return file in HERDER_FILES or file.startswith(GENERATED)


def unknown_command(name: str, commands: Iterable[str]) -> CallRejection:
    """Return the answer for a call of a command that does not exist."""
    listed = ", ".join(commands) or "none"
    return CallRejection("unknown_command", f"command {name!r} is not registered; available commands: {listed}")


def result_too_large(name: str, size: int, limit: int) -> CallRejection:
    """Return the answer for a call whose encoded result does not fit into a frame."""
    message = f"the result of {name} has {size} bytes; the limit is {limit} bytes (`max_frame`)"
    return CallRejection("too_large", message)
