"""JSON, the only codec: bytes to values and back.

Errors leave here as `Refusal`: `malformed` for what came in, `unencodable` for what should go out.
"""

from __future__ import annotations

import json
import json.encoder

from herder.errors import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def decode(payload: bytes | memoryview) -> Any:
    """The value of a JSON text. Raises `Refusal` for what is no JSON: `NaN` and `Infinity` are none."""
    try:
        text = str(payload, "utf-8")
        try:
            value, end = _scan(text, 0)
        except StopIteration:
            end = -1
        return value if end == len(text) else _decoder.decode(text)  # white space around it, or an error
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error) or type(error).__name__
        raise Refusal("malformed", f"the arguments are not valid JSON: {reason}") from None


def encode(value: Any) -> bytes:
    """A value as JSON text. Raises `Refusal` for what JSON can't hold."""
    try:
        return "".join(_chunks(value, 0)).encode()
    except BaseException as error:
        _markers.clear()
        raise _unencodable(error) from None


def _unencodable(error: BaseException) -> Refusal:
    reason = str(error) or type(error).__name__
    if isinstance(error, RecursionError):
        reason = "it is nested too deep, or contains itself"
    elif isinstance(error, UnicodeEncodeError):
        reason = "a string holds half of a surrogate pair, which is no text"
    return Refusal("unencodable", reason)


def _no_form(value: object) -> Any:
    raise TypeError(f"a value of type {type(value).__name__} has no JSON form")


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_no_constant)
_scan: Callable[[str, int], tuple[Any, int]] = getattr(_decoder, "scan_once")  # noqa: B009 - not in typeshed
_markers: dict[int, object] = {}  # the encoder's cycle detection; must be cleared after an error


def _encoder() -> Callable[..., Any]:
    make: Callable[..., Any] | None = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # PyPy
        return json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_no_form).iterencode
    encoder: Callable[..., Any] = make(
        _markers, _no_form, json.encoder.encode_basestring, None, ":", ",", False, False, False
    )
    return encoder


_chunks = _encoder()  # built once: `JSONEncoder.encode` builds it anew for each value
