"""Encodes and decodes JSON, the only codec. `orjson_codec` does the same quicker, if orjson is installed.

Errors are raised as `CallRejection`, with the kind `malformed` for arguments and `unencodable` for results. `encode`
accepts only values that JSON has; `results` encodes the results of handlers.
"""

from __future__ import annotations

import json
import json.encoder
import sys
from importlib.machinery import ExtensionFileLoader, PathFinder

from herder.errors import CallRejection
from herder.text import MAX_NESTING, SHARED_RECURSION_LIMIT, text, type_name, with_recursion_limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Scan = Callable[[str, int], tuple[Any, int]]


def decode(payload: bytes | memoryview) -> Any:
    """Parse a JSON text. Raises `CallRejection` if it is not valid JSON; `NaN` and `Infinity` are not valid."""
    try:
        if len(payload) < SHORT_PAYLOAD and type(payload) is bytes:  # as `_decode_long`, without its calls
            document = payload.decode()  # quicker than `str(payload, "utf-8")`
            try:
                value, end = _scan(document, 0)
                if end == len(document):
                    return value
            except StopIteration:
                pass
            return _parse_padded(document)
        return with_recursion_limit(MAX_NESTING, _decode_long, payload)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else text(error) or type(error).__name__
        raise CallRejection("malformed", f"the arguments are not valid JSON: {reason}") from None
    except MemoryError:
        raise CallRejection("exception", "not enough memory to parse the arguments", "MemoryError") from None


def _parse(document: str, scan: Scan) -> Any:
    try:
        value, end = scan(document, 0)
    except StopIteration:
        value, end = None, -1
    return value if end == len(document) else _parse_padded(document)


def _parse_padded(document: str) -> Any:
    """Parse a document that is invalid, or has white space or a byte order mark around it."""
    return _decoder.decode(document.removeprefix(BYTE_ORDER_MARK))


def _decode_long(payload: bytes | memoryview) -> Any:
    document = str(payload, "utf-8")
    return _parse(document, _scan_unchecked if _all_finite(payload, document) else _scan)


def _all_finite(payload: bytes | memoryview, document: str) -> bool:
    """Whether a quick scan shows that every number fits a double. If False, each number must be checked."""
    # Checking a number takes 0.2 us, scanning a byte 1 ns. So only payloads with many fractions are scanned.
    if document.count(".", 0, SAMPLE_SIZE) * CHARACTERS_PER_NUMBER < SAMPLE_SIZE:
        return False
    if bytes(payload[:SAMPLE_SIZE]).translate(_NUMBER_SHAPE).count(b"0.0") * CHARACTERS_PER_NUMBER < SAMPLE_SIZE:
        return False
    shape = bytes(payload).translate(_NUMBER_SHAPE)
    return b"0e0" not in shape and b"0" * 200 not in shape


def encode(value: Any) -> bytes:
    """Encode a value as JSON. Raises `CallRejection` if JSON has no form for it."""
    try:
        if SHARED_RECURSION_LIMIT and _recursion_limit() > MAX_NESTING:
            return with_recursion_limit(MAX_NESTING, _encode, value)
        return "".join(_iterencode(value, 0)).encode()
    except BaseException as error:
        _markers.clear()  # the encoder leaves the containers that it was in, and would report them as a cycle later
        raise unencodable(error) from None


def _encode(value: Any) -> bytes:
    return "".join(_iterencode(value, 0)).encode()


def unencodable(error: BaseException) -> CallRejection:
    """Return the answer for a result whose encoding raised `error`."""
    reason = text(error) or type_name(error)
    if isinstance(error, RecursionError):
        reason = "the value is nested too deeply or contains itself"
    elif isinstance(error, UnicodeEncodeError):
        reason = "a string contains an unpaired surrogate, which is not valid text"
    elif isinstance(error, MemoryError):
        reason = "not enough memory to encode the value"
    return CallRejection("unencodable", reason)


def _reject_type(value: object) -> Any:
    raise TypeError(f"a value of type {type_name(value)} cannot be encoded as JSON")


def _reject_constant(text: str) -> Any:
    raise ValueError(f"{text} is not valid JSON")


def _parse_float(digits: str) -> float:
    value = float(digits)
    if value - value:  # infinite: `inf - inf` is NaN, which is true
        raise ValueError(f"the number {digits[:40]} exceeds the range of a 64-bit float")
    return value


def _scanner(decoder: json.JSONDecoder) -> Scan:
    scan: Scan = getattr(decoder, "scan_once")  # noqa: B009 - not in typeshed
    return scan


SHORT_PAYLOAD = 1024  # bytes; a shorter payload cannot be nested too deeply
SAMPLE_SIZE = 1024  # characters
CHARACTERS_PER_NUMBER = 128  # with fewer fractions than one in so many characters, scanning does not pay
BYTE_ORDER_MARK = "\ufeff"
_NUMBER_SHAPE = bytes.maketrans(b"123456789E+", b"000000000e0")  # digits and `+` to `0`, `E` to `e`
_decoder = json.JSONDecoder(parse_constant=_reject_constant, parse_float=_parse_float)
_scan = _scanner(_decoder)
_scan_unchecked = _scanner(json.JSONDecoder(parse_constant=_reject_constant))
_recursion_limit = sys.getrecursionlimit


def make_iterencode(
    markers: dict[int, object], default: Callable[[Any], Any], allow_nan: bool
) -> Callable[..., Iterable[str]]:
    """Return the function that encodes a value; build it once, `JSONEncoder.encode` does so for each value.

    `default` returns what to write in place of a value that JSON does not have. `markers` are the containers that are
    being encoded, by which the encoder detects cycles: they must be cleared after an exception.
    """
    make: Callable[..., Any] | None = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # PyPy
        encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=allow_nan, separators=(",", ":"), default=default)
        return encoder.iterencode
    iterencode: Callable[..., Iterable[str]] = make(
        markers, default, json.encoder.encode_basestring, None, ":", ",", False, False, allow_nan
    )
    return iterencode


def is_orjson_installed() -> bool:
    """Whether `import orjson` would find that package, and not a file of the application. Imports nothing."""
    try:
        package = PathFinder.find_spec("orjson")
        folders = None if package is None else package.submodule_search_locations
        module = None if folders is None else PathFinder.find_spec("orjson.orjson", folders)
        return module is not None and isinstance(module.loader, ExtensionFileLoader)
    except Exception:  # a path hook of the application
        return False


_markers: dict[int, object] = {}
_iterencode = make_iterencode(_markers, _reject_type, False)
