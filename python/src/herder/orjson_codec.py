"""Decodes arguments and encodes results with orjson, where it does exactly what the standard library does.

orjson is quicker than `json`, but treats some values differently and reports other errors. So it gets only what both
treat alike. Everything else, and all that orjson refuses, is left to `codec` and `results`: values, bytes and errors
are the same with and without orjson. Imported only if orjson is installed.
"""

# Short calls pass here, so searches in bytes are written in the quickest way: `in` for one byte, given as a number, and
# `partition` for more bytes, for which `in` catches an exception first.

from __future__ import annotations

import marshal
import re
import sys

from herder import codec
from herder.codec import SHORT_PAYLOAD
from herder.stdlib import import_stdlib, prefer_stdlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Decode = Callable[[bytes | memoryview], Any]
    Encode = Callable[[Any], bytes]

# A container of these has no second level and no float. So it needs no further check: orjson writes NaN as `null`, and
# reads an integer of more than 64 bits as a float.
FLAT = frozenset({str, int, bool, type(None)})
# Bytes, or characters; what is longer is left to `json`. orjson reserves a multiple, and crashes if it gets no memory.
MAX_SIZE = 1 << 20
MAX_LEVELS = 254  # of nested values that orjson writes; it reads 1024, and `json` about 1000
# Errors of `marshal` and orjson, and of a value that another thread changes.
REFUSALS = (TypeError, ValueError, RuntimeError, MemoryError)

# --- arguments --------------------------------------------------------------------------------------------------------

ZEROS = bytes.maketrans(b"123456789", b"000000000")
LONG = b"0" * 19  # no shorter number exceeds 64 bits
STEP = 6  # a number of 19 digits has three of every sixth byte
SAMPLE = b"000"


def make_decode(orjson: Any, decode_exactly: Decode) -> Decode:
    """Return a function that does the same as `decode_exactly`."""
    loads, dumps, is_flat = orjson.loads, orjson.dumps, FLAT.issuperset

    def decode(payload: bytes | memoryview) -> Any:
        try:
            if len(payload) < SHORT_PAYLOAD:
                # A view has no `translate`.
                if not payload.translate(ZEROS).partition(LONG)[1]:  # type: ignore[union-attr]
                    return loads(payload)
            elif len(payload) <= MAX_SIZE:
                value = loads(payload)
                kind = type(value)
                if is_flat(map(type, value.values() if kind is dict else value if kind is list else (value,))):
                    return value
                payload = bytes(payload)
                if not has_large_integer(payload):
                    if payload.count(b"[") + payload.count(b"{") > MAX_LEVELS:
                        dumps(value)  # raises if there are more levels
                    return value
        except (*REFUSALS, AttributeError):
            pass
        return decode_exactly(payload)

    return decode


def has_large_integer(payload: bytes) -> bool:
    """Whether an integer may have more than 64 bits: orjson would return a float."""
    if SAMPLE not in payload[::STEP].translate(ZEROS):
        return False
    digits = payload.translate(ZEROS)
    if LONG not in digits:
        return False
    digits = digits.replace(b".000000", b".")  # a float has up to 20 digits after its point
    return b"0" + LONG in digits or b"-" + LONG in digits


# --- results ----------------------------------------------------------------------------------------------------------

FEW = 4  # for more items, `marshal` is quicker than a loop
MARSHAL_VERSION = 4
# The end of NaN or of an infinity in the format of `marshal`: a type code, with or without a flag, and a little-endian
# double. Each pattern begins with a literal, since `re` finds that quicker than one of two bytes.
NOT_FINITE = tuple(rb"(?s)%s(?<=[g\xe7].{6}[\xf0-\xff].)" % last for last in (b"\x7f", b"\xff"))
# In JSON by orjson: a string; the start of a number for which Python writes an exponent; an exponent for which Python
# writes two digits.
TEXT_OR_SMALL_NUMBER = rb'"[^"\\]*(?:\\.[^"\\]*)*"|0\.0000([1-9])([0-9]*)|e-([6-9])(?![0-9])'


def make_encode(orjson: Any, encode_exactly: Encode, nan_as_null: bool) -> Encode:
    """Return a function that does the same as `encode_exactly`."""
    dumps, describe, find_exponent = orjson.dumps, marshal.dumps, re.compile(rb"e-[6-9]").search
    # `marshal` also accepts buffers, which may be dataclasses. They may be enums too, and orjson writes any enum: one
    # of bytes whose members have values of other types, and a form of the application, is wrongly written as its value.
    options = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS

    def encode(value: Any) -> bytes:
        document: bytes
        try:
            if type(value) is dict and len(value) <= FEW:
                for each in value.values():
                    if type(each) not in FLAT or (type(each) is str and len(each) > MAX_SIZE):
                        break
                else:
                    document = dumps(value, None, options)
                    return document
            # orjson writes enums, UUIDs and fragments without asking. `marshal` refuses them, like all types that are
            # not builtin, and runs no code of the application.
            description = describe(value, MARSHAL_VERSION)
            if len(description) <= MAX_SIZE:
                document = dumps(value, None, options)
                may_have_nan = (0x7F in description or 0xFF in description) and not nan_as_null
                if not (may_have_nan and has_nan(description, document)):
                    has_small_number = (0x2E in document and document.partition(b"0.0000")[1]) or (
                        0x2D in document and find_exponent(document)
                    )
                    return re.sub(TEXT_OR_SMALL_NUMBER, _number_of_python, document) if has_small_number else document
        except REFUSALS:
            pass
        return encode_exactly(value)

    return encode


def has_nan(description: bytes, document: bytes) -> bool:
    """Whether NaN or an infinity may have been written as `null`."""
    return b"null" in document and any(re.search(each, description) for each in NOT_FINITE)


def _number_of_python(found: re.Match[bytes]) -> bytes:
    """Return a string unchanged, and a part of a number as `json` writes it."""
    digit, rest, exponent = found.groups()
    if exponent:
        return b"e-0" + exponent
    if digit and not found.string[max(found.start() - 1, 0) : found.start()].isdigit():
        return digit + (b"." + rest if rest else b"") + b"e-05"
    return found[0]


# --- the installed version --------------------------------------------------------------------------------------------

NEEDED = ("dataclasses", "datetime", "enum", "json", "uuid")  # what orjson imports
SAMPLES = [
    [1.25 * 10.0**power for power in range(-12, 26)],
    [-(10.0**power) for power in range(-12, 26)],
    {
        "text": '\x00\x1f\x7f\\"/\b\f\n\r\t\u00e4\u2028\U0001f600 0.00001',
        "none": None,
        "e-5": [True, 10**17, -(10**17)],
    },
]


def make_codec(encode_exactly: Encode, nan_as_null: bool) -> tuple[Decode, Encode] | None:
    """Return the functions that decode arguments and encode results, or None if the installed orjson cannot be used."""
    try:
        # With other modules of these names, or if memory ends, orjson could crash.
        if any(import_stdlib(name) is not sys.modules.get(name) for name in NEEDED) or _has_memory_limit():
            return None
        with prefer_stdlib():
            orjson = __import__("orjson")
        if not _is_as_expected(orjson):
            return None
        return make_decode(orjson, codec.decode), make_encode(orjson, encode_exactly, nan_as_null)
    except Exception:  # another module of this name, or an installation that is broken
        return None


def _has_memory_limit() -> bool:
    """Whether an allocation can fail. Without a limit, the system kills a process that uses too much memory."""
    resource = import_stdlib("resource")
    limits = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    return any(resource.getrlimit(limit)[0] != resource.RLIM_INFINITY for limit in limits)


def _is_as_expected(orjson: Any) -> bool:
    """Whether this version writes and reads the samples as `json`. Before 3.11.7, it wrote `1e16` for `1e+16`."""
    text = codec.encode(SAMPLES)
    not_finite = [float("inf"), float("-inf"), float("nan")]
    return (
        make_encode(orjson, _refuse, False)(SAMPLES) == text
        and repr(make_decode(orjson, _refuse)(text)) == repr(SAMPLES)
        and make_encode(orjson, lambda _: b"exactly", False)([not_finite[0]]) == b"exactly"
        and all(has_nan(marshal.dumps([each], MARSHAL_VERSION), b"null") for each in not_finite)
    )


def _refuse(_: object) -> Any:
    raise ValueError
