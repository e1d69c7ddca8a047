"""Payload codecs: bytes to values and back. JSON always; msgpack when one of its libraries is installed.

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


class Codec:
    """One codec: its flag on the wire, its name in a hello, and the two functions."""

    __slots__ = ("decode", "encode", "flag", "name")

    def __init__(
        self, flag: int, name: str, decode: Callable[[bytes | memoryview], Any], encode: Callable[[Any], bytes]
    ) -> None:
        self.flag = flag
        self.name = name
        self.decode = decode
        self.encode = encode


def _malformed(name: str, error: BaseException) -> Refusal:
    reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error) or type(error).__name__
    return Refusal("malformed", f"the arguments are not valid {name}: {reason}")


def _unencodable(error: BaseException) -> Refusal:
    reason = str(error) or type(error).__name__
    if isinstance(error, RecursionError) or "recursion limit" in reason.lower():  # as msgpack's ValueError says it
        reason = "it is nested too deep, or contains itself"
    elif isinstance(error, UnicodeEncodeError):
        reason = "a string holds half of a surrogate pair, which is no text"
    return Refusal("unencodable", reason)


def _no_form(name: str) -> Callable[[object], Any]:
    def refuse(value: object) -> Any:
        raise TypeError(f"a value of type {type(value).__name__} has no {name} form")

    return refuse


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _json() -> Codec:
    markers: dict[int, object] = {}  # what the encoder is inside of; left dirty by an error
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    scan: Callable[[str, int], tuple[Any, int]] = getattr(decoder, "scan_once")  # noqa: B009 - not in typeshed
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # PyPy
        chunks: Callable[[Any], Any] = json.JSONEncoder(
            ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_no_form("JSON")
        ).iterencode
    else:  # built once: `JSONEncoder.encode` builds it anew for each value
        once = make(markers, _no_form("JSON"), json.encoder.encode_basestring, None, ":", ",", False, False, False)

        def chunks(value: Any) -> Any:
            return once(value, 0)

    def decode(payload: bytes | memoryview) -> Any:
        try:
            text = str(payload, "utf-8")
            try:
                value, end = scan(text, 0)
            except StopIteration:
                end = -1
            return value if end == len(text) else decoder.decode(text)  # white space around it, or an error
        except (ValueError, RecursionError) as error:
            raise _malformed("JSON", error) from None

    def encode(value: Any) -> bytes:
        try:
            return "".join(chunks(value)).encode()
        except BaseException as error:
            markers.clear()
            raise _unencodable(error) from None

    return Codec(1, "json", decode, encode)


def _packers() -> tuple[Callable[[Any], Any], Callable[[Any], bytes]] | None:
    """The first msgpack library there is. `msgpack` leads: lightest in memory, strictest in what it encodes."""
    refuse = _no_form("msgpack")
    try:
        import msgpack  # type: ignore[import-not-found,import-untyped,unused-ignore]

        packer = msgpack.Packer(autoreset=True, default=refuse)
        return (lambda data: msgpack.unpackb(data, strict_map_key=False)), packer.pack
    except Exception:
        pass
    try:
        import ormsgpack  # type: ignore[import-not-found,import-untyped,unused-ignore]

        option = ormsgpack.OPT_NON_STR_KEYS
        return (lambda data: ormsgpack.unpackb(data, option=option)), (
            lambda value: ormsgpack.packb(value, option=option)
        )
    except Exception:
        pass
    try:
        import msgspec.msgpack  # type: ignore[import-not-found,import-untyped,unused-ignore]

        return msgspec.msgpack.Decoder().decode, msgspec.msgpack.Encoder(enc_hook=refuse).encode
    except Exception:
        return None


def _msgpack() -> Codec | None:
    found = _packers()
    if found is None:
        return None
    unpack, pack = found

    def decode(payload: bytes | memoryview) -> Any:
        try:
            return unpack(payload)
        except (Exception, RecursionError) as error:
            raise _malformed("msgpack", error) from None

    def encode(value: Any) -> bytes:
        try:
            return pack(value)
        except BaseException as error:
            raise _unencodable(error) from None

    return Codec(2, "msgpack", decode, encode)


JSON = _json()


def codecs(offered: list[str]) -> list[Codec | None]:
    """The codecs by their flag: JSON, and msgpack if `offered` names it and a library is here."""
    return [None, JSON, _msgpack() if "msgpack" in offered else None, None]
