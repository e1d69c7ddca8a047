"""The frames of the wire protocol (docs/protocol.md): their layouts and their checks. No state and no I/O."""

from __future__ import annotations

from struct import Struct, pack, unpack

from herder.errors import CallRejection, ProtocolError

PROTOCOL = 1

HELLO = 1
READY = 2
CALL = 3
RESULT = 4
ERROR = 5
HEADERS = 6
CHUNK = 7
BATCH = 8
CANCEL = 10
REVOKE = 11
ATTEMPT_STATE = 13
PING = 14
PONG = 15
CREDIT = 16
SESSION_END = 18
SHUTDOWN = 20
HEALTH_CHECK = 22
HEALTH = 23
SLAB_FREE = 24
SLAB_DROP = 25
LOG_LEVEL = 26

OPTIONAL = 0x01  # a receiver ignores the frame if it does not know the kind
INTERRUPT = 0x02  # of a `cancel` frame: interrupt the handler
STREAM = 0x02  # of a `call` frame: the caller takes chunks
END_OF_STREAM = 0x02  # of a `result` frame: it ends a stream and has no value
BUFFERS = 0x04  # of a `call` or `result` frame: its value has buffers, or the caller takes some

SLABS = frozenset({SLAB_FREE, SLAB_DROP})  # both sides send these
TO_WORKER = SLABS | frozenset(
    {HELLO, CALL, HEADERS, BATCH, CANCEL, REVOKE, PING, CREDIT, SESSION_END, SHUTDOWN, HEALTH_CHECK, LOG_LEVEL}
)
TO_HOST = frozenset({READY, RESULT, ERROR, CHUNK, ATTEMPT_STATE, PONG, HEALTH})
KIND_FLAGS = {CALL: STREAM | BUFFERS, CANCEL: INTERRUPT}  # the flags of kinds that have some of their own
RUNNING, WITHDRAWN, FINISHED = 1, 2, 3  # the states in an `attempt_state` frame
LOG_LEVELS = ("off", "error", "warn", "info", "debug", "trace")  # by the number in a `log_level` frame
REASONS = {1: "ended", 2: "expired", 3: "moved"}
HELLO_LIMIT = 1 << 20
SESSION_LIMIT = 256  # bytes

HEADER = Struct("<IBBHQ")  # length, kind, flags, reserved, wire id
PREFIX = Struct("<QQHH")  # deadline, epoch, length of the command, length of the session id
CALL_HEAD = Struct("<IIQQQHH")  # a header whose kind, flags and reserved bytes are one number, then PREFIX
# Bytes; the names of a valid call are within its first bytes. One byte more shows that a session id is too long.
NAMES_LIMIT = CALL_HEAD.size + 0xFFFF + SESSION_LIMIT + 1
CALL_WORDS = (CALL, CALL | OPTIONAL << 8)  # that number for a valid call
STAMPS = Struct("<QQ")  # started, ended
ANSWER = Struct("<IBBHQQQ")  # a header, then STAMPS
RESULT_HEAD = Struct("<IIQQQ")  # the same for a result, whose flags and reserved bytes are 0
CREDIT_BODY = Struct("<I")  # the number of bytes that the consumer has taken
MILLISECONDS = Struct("<Q")  # the body of `health_check`
ENDING = Struct("<QB")  # the start of a `session_end` body: epoch, reason

HEADER_SIZE = HEADER.size
FLAGS_AT = 5  # the offset of the flags in a frame
PREFIX_SIZE = PREFIX.size
STAMPS_SIZE = STAMPS.size


def frame(kind: int, wire_id: int = 0, body: bytes = b"", flags: int = 0) -> bytes:
    """Return a frame."""
    return HEADER.pack(len(body), kind, flags, 0, wire_id) + body


def answer(kind: int, wire_id: int, started: int, ended: int, payload: bytes) -> bytes:
    """Return a `result` or `error` frame: timestamps, then the payload."""
    return ANSWER.pack(STAMPS_SIZE + len(payload), kind, 0, 0, wire_id, started, ended) + payload


def slab_frame(kind: int, *ids: int) -> bytes:
    """Return a `slab_free` or `slab_drop` frame."""
    return frame(kind, 0, pack(f"<{len(ids)}Q", *ids))


def end_of_stream(wire_id: int, started: int, ended: int) -> bytes:
    """Return the `result` frame that ends a stream: only timestamps."""
    return ANSWER.pack(STAMPS_SIZE, RESULT, END_OF_STREAM, 0, wire_id, started, ended)


def check_header(length: int, kind: int, flags: int, reserved: int, wire_id: int, max_frame: int) -> bool:
    """Whether to handle a frame from the host; False: ignore it. Raises `ProtocolError` if it is malformed."""
    if reserved:
        raise ProtocolError("reserved_bytes", "the reserved bytes of a header are not 0: the data is not a frame")
    if length > (HELLO_LIMIT if kind == HELLO else max_frame):
        raise ProtocolError("oversize", f"a frame of {length} bytes exceeds the limit")
    if kind not in TO_WORKER:
        return _check_unknown(kind, flags)
    if flags & ~(OPTIONAL | KIND_FLAGS.get(kind, 0)):
        raise ProtocolError("reserved_flags", f"a frame of kind {kind} sets the reserved flags {flags:#x}")
    if kind in (CALL, HEADERS, CANCEL, REVOKE, CREDIT) and not wire_id:
        raise ProtocolError("missing_wire_id", f"a frame of kind {kind} has no wire id")
    if kind in (HELLO, BATCH, SESSION_END, SHUTDOWN, SLAB_FREE, SLAB_DROP, LOG_LEVEL) and wire_id:
        raise ProtocolError("unexpected_wire_id", f"a frame of kind {kind} must have wire id 0, but has {wire_id}")
    if kind in (CANCEL, REVOKE, PING, SHUTDOWN) and length:
        raise ProtocolError("unexpected_body", f"a frame of kind {kind} must have no body")
    return True


def _check_unknown(kind: int, flags: int) -> bool:
    if kind in TO_HOST:
        raise ProtocolError("wrong_direction", f"a frame of kind {kind} was sent in the wrong direction")
    if not flags & OPTIONAL:
        raise ProtocolError("unknown_kind", f"unknown frame kind {kind}")
    return False


def call_prefix(body: bytes | memoryview) -> tuple[int, int, str, str | None, int]:
    """Return deadline, epoch, command, session and the offset of the arguments from the body of a `call` frame."""
    if len(body) < PREFIX_SIZE:
        raise ProtocolError("short_body", "the body of a call frame is shorter than its prefix")
    deadline, epoch, command_len, session_len = PREFIX.unpack_from(body)
    session_at = PREFIX_SIZE + command_len
    end = session_at + session_len
    if end > len(body):
        raise ProtocolError("short_body", "the body of a call frame is shorter than its names")
    command = utf8(body[PREFIX_SIZE:session_at])
    return deadline, epoch, command, session_name(body[session_at:end]) if session_len else None, end


def headers(body: bytes | memoryview) -> dict[str, str]:
    """Return the headers from the body of a `headers` frame."""
    from herder.codec import decode  # here, since programs that only import `herder` do not need it

    if len(body) < 2:
        raise ProtocolError("short_body", "the body of a headers frame is too short")
    try:
        found = decode(body)
    except CallRejection as refused:
        raise ProtocolError("malformed_json", f"headers: {refused.message}") from None
    if type(found) is not dict or not all(type(value) is str for value in found.values()):
        raise ProtocolError("malformed_json", "headers: expected an object of strings")
    return found


def batch(body: bytes | memoryview, is_offered: bool = True) -> tuple[int, ...]:
    """Return the wire ids from the body of a `batch` frame. `is_offered`: whether a command of the app has batches."""
    count, rest = divmod(len(body), 8)
    if rest or not count:
        raise ProtocolError("short_body", "the body of a batch frame is no list of wire ids")
    wire_ids = unpack(f"<{count}Q", body)
    for before, wire_id in zip((0, *wire_ids), wire_ids, strict=False):
        if wire_id <= before:
            raise ProtocolError("unexpected_wire_id", f"a batch frame has the wire id {wire_id} after {before}")
    if not is_offered:
        raise ProtocolError("out_of_order", "a batch frame, but the app has no command with batches")
    return wire_ids


def session_end(body: bytes | memoryview) -> tuple[int, str, str]:
    """Return epoch, reason and session from the body of a `session_end` frame."""
    if len(body) < ENDING.size:
        raise ProtocolError("short_body", "the body of a session_end frame is too short")
    epoch, reason = ENDING.unpack_from(body)
    if reason not in REASONS:
        raise ProtocolError("unknown_reason", f"unknown session end reason {reason}")
    return epoch, REASONS[reason], session_name(body[ENDING.size :])


def health_limit(body: bytes | memoryview, is_offered: bool = True) -> float:
    """Return the time limit in seconds from the body of a `health_check` frame. `is_offered`: whether it is allowed."""
    if len(body) < MILLISECONDS.size:
        raise ProtocolError("short_body", "the body of a health_check frame is too short")
    if not is_offered:
        raise ProtocolError("out_of_order", "a health_check frame, but the app has no health function")
    milliseconds: int = MILLISECONDS.unpack_from(body)[0]
    return milliseconds / 1000


def slab_ids(body: bytes | memoryview) -> tuple[int, ...]:
    """Return the ids from the body of a `slab_free` or `slab_drop` frame."""
    count, rest = divmod(len(body), 8)
    if rest or not count:
        raise ProtocolError("short_body", "the body of a slab frame is no list of ids")
    return unpack(f"<{count}Q", body)


def credit(body: bytes | memoryview) -> int:
    """Return the number of bytes that the consumer has taken from the body of a `credit` frame."""
    if len(body) < CREDIT_BODY.size:
        raise ProtocolError("short_body", "the body of a credit frame is too short")
    taken: int = CREDIT_BODY.unpack_from(body)[0]
    return taken


def log_level(body: bytes | memoryview) -> str:
    """Return the name of the level from the body of a `log_level` frame."""
    if not body:
        raise ProtocolError("short_body", "the body of a log_level frame is empty")
    return LOG_LEVELS[min(body[0], len(LOG_LEVELS) - 1)]


def session_name(data: bytes | memoryview) -> str:
    """Decode a session id: 1 to 256 bytes of UTF-8 without control characters."""
    if not 0 < len(data) <= SESSION_LIMIT:
        raise ProtocolError("invalid_session", f"a session id has {len(data)} bytes; allowed: 1 to 256")
    name = utf8(data)
    if not name.isprintable() and any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in name):
        raise ProtocolError("invalid_session", "a session id contains control characters")
    return name


def utf8(data: bytes | memoryview) -> str:
    """Decode a name. Raises `ProtocolError`."""
    try:
        return (b"" + data).decode()  # copies a view only; `bytes.decode` is quicker than `str(data, "utf-8")`
    except UnicodeDecodeError:
        raise ProtocolError("not_utf8", "a name is not valid UTF-8") from None
