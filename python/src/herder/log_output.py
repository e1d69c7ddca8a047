"""Sends log records to the host as datagrams, with the call in which they were created. Owns the log descriptor.

Sending never blocks: a record that does not fit into the socket's buffer is dropped and counted.
"""

# Any thread may send, at any time: a handler, a thread, a signal handler, a fork of the worker. A datagram is written
# in one piece, so there is no lock, which a signal handler or a fork could find taken.
#
# Objects of the application run their own code when they are printed. What they raise is replaced by a text, except an
# exception that is not an `Exception`: that may be the interrupt of the call, which the handler must get.

from __future__ import annotations

import json
import os
from _thread import get_ident
from itertools import islice

from herder import stdlib
from herder.call import MAIN_THREAD, calls, task_call
from herder.text import PRINT_RECURSION_LIMIT, type_name, with_recursion_limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

# The numbers of `logging` for the host's levels. `trace`: everything. `off`: above CRITICAL.
LEVELS = {"off": 60, "error": 40, "warn": 30, "info": 20, "debug": 10, "trace": 1}
USUAL_NAMES = frozenset({"ERROR", "WARNING", "INFO", "DEBUG"})
RECORD_LIMIT = 32 * 1024  # bytes; the host refuses longer records
MAX_TEXT = 8 * 1024  # characters of a message, a traceback or a stack
MAX_FIELD = 2 * 1024  # characters of a text in the application's fields
MAX_ITEMS = 64  # entries of each container in the fields
MAX_DEPTH = 4  # levels of containers in the fields
SHORTER_TEXTS = (1024, 128)  # characters of each text of a record that is still too long, one attempt after the other
TRUNCATED = "..."

encode: Callable[[Any], str] = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


class LogOutput:
    """The log descriptor, the level below which nothing is sent, and the number of dropped records."""

    __slots__ = ("dropped", "fd", "inode", "level", "names_of")

    def __init__(self) -> None:
        self.fd = -1
        self.inode = 0  # of the descriptor: see `_send`
        self.level = 0
        self.dropped = 0
        # Returns the command and the session of the call with this wire id; below 0: of a hook, 0: of the context. The
        # main loop sets it.
        self.names_of: Callable[[int], tuple[str | None, str | None]] = lambda _id: (None, None)

    def log(
        self,
        level: int,
        level_name: object,
        logger: object,
        message: str,
        *,
        fields: Iterable[tuple[object, object]] = (),
        exception: Any = None,
        stack: object = None,
    ) -> None:
        """Send a record. `exception` is a value, or a tuple as of `sys.exc_info()`."""
        if level < self.level:
            return
        record: dict[str, Any] = {"level": level_word(level), "logger": as_text(logger), "message": cut(message)}
        name = as_text(level_name)
        if name not in USUAL_NAMES:
            record["level_name"] = name
        record.update(self._describe_call())
        plain_fields = as_fields(fields)
        if plain_fields:
            record["fields"] = plain_fields
        if exception:
            record["traceback"] = format_traceback(exception)
        if stack:
            record["stack"] = cut_start(as_text(stack, 4 * MAX_TEXT))
        self._send(record)

    def finish(self) -> None:
        """Report the records that were dropped since the last one that was sent."""
        if self.dropped and self.fd >= 0:
            self._send({})

    def _send(self, record: dict[str, Any]) -> None:
        dropped = self.dropped
        if dropped:
            record["dropped"] = dropped
        try:
            # A fork may close all descriptors, as a daemon does, and use the number for a file of its own.
            if calls.forked and os.fstat(self.fd).st_ino != self.inode:
                return
            os.write(self.fd, shorten(record))
        except (OSError, MemoryError):
            # The buffer is full, or the host has closed its end. The loss is not reported here: the process could only
            # print it, and printing may block.
            if record:
                self.dropped += 1
        else:
            self.dropped -= dropped

    def _describe_call(self) -> dict[str, Any]:
        """Return the call in which this code runs: its wire id, command and session."""
        if calls.forked:  # the state of the worker is that of the moment of the fork
            return {"process": os.getpid()}
        call = task_call.get()
        running = calls.running if get_ident() == MAIN_THREAD else 0
        attempt = running if call is None else call.id
        command, session = self.names_of(attempt)
        named = {"attempt": attempt if attempt > 0 else None, "command": command, "session": session}
        return {name: value for name, value in named.items() if value is not None}


output = LogOutput()


def level_word(level: int) -> str:
    """Return the host's level for a number of `logging`. A level between two is the less severe one."""
    for word in ("error", "warn", "info", "debug"):
        if level >= LEVELS[word]:
            return word
    return "trace"


def as_text(value: object, limit: int = MAX_FIELD) -> str:
    """Return the beginning of `str(value)`, or a replacement if that raises an `Exception`."""
    try:
        # The slice is an exact `str`, also for a subclass of `str`, and runs no code of that class.
        return str.__getitem__(with_recursion_limit(PRINT_RECURSION_LIMIT, str, value), slice(limit))
    except Exception:
        return f"<unprintable {type_name(value)} object>"


def as_fields(pairs: Iterable[tuple[object, object]]) -> dict[str, Any]:
    """Return the application's fields as values of JSON."""
    return {as_text(name, 128): as_json(value, MAX_DEPTH) for name, value in islice(pairs, MAX_ITEMS)}


def as_json(value: Any, depth: int) -> Any:
    """Return a value of JSON for `value`; its text if JSON has no form for it."""
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str:
        return cut(value, MAX_FIELD)
    if kind is int and -(1 << 63) <= value < 1 << 64:
        return value
    if kind is float and value - value == 0:  # neither infinite nor NaN
        return value
    try:
        if kind in (list, tuple, set, frozenset) and depth:
            return [as_json(each, depth - 1) for each in islice(value, MAX_ITEMS)]
        if kind is dict and depth:
            return {as_text(name, 128): as_json(each, depth - 1) for name, each in islice(value.items(), MAX_ITEMS)}
    except RuntimeError:  # another thread changes the container
        pass
    return as_text(value)


def format_traceback(exception: Any) -> str:
    """Return the end of the traceback as text."""
    if not isinstance(exception, tuple):
        exception = (type(exception), exception, exception.__traceback__)
    try:
        format_exception = stdlib.import_stdlib("traceback").format_exception
        with stdlib.prefer_stdlib():  # `traceback` imports more modules while it formats
            return cut_start("".join(format_exception(*exception)).rstrip("\n"))
    except Exception:  # printing the exception raises
        return f"{type_name(exception[1])}: {as_text(exception[1])}"


def cut(text: str, limit: int = MAX_TEXT) -> str:
    """Return at most `limit` characters from the beginning of `text`, and a mark if it was longer."""
    return text if len(text) <= limit else text[:limit] + TRUNCATED


def cut_start(text: str, limit: int = MAX_TEXT) -> str:
    """Return at most `limit` characters from the end of `text`, which is the important part of a traceback."""
    return text if len(text) <= limit else TRUNCATED + text[-limit:]


def shorten(record: dict[str, Any]) -> bytes:
    """Encode the record into at most `RECORD_LIMIT` bytes. Omits the fields first, then cuts all texts."""
    data = encode(record).encode("utf-8", "replace")  # a lone surrogate becomes `?`
    if len(data) > RECORD_LIMIT and "fields" in record:
        record["fields"] = {"omitted": "the fields of this record are too large"}
        data = encode(record).encode("utf-8", "replace")
    for limit in SHORTER_TEXTS:
        if len(data) <= RECORD_LIMIT:
            break
        ends = ("traceback", "stack")
        for name, value in record.items():
            if type(value) is str:
                record[name] = cut_start(value, limit) if name in ends else cut(value, limit)
        data = encode(record).encode("utf-8", "replace")
    return data
