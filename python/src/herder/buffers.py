"""Buffers: binary data beside the JSON of a call's arguments and of a result (docs/protocol.md). No state.

A worker imports this module at the first call whose arguments or result have buffers, or if its app uses
`herder.Buffer`.
"""

from __future__ import annotations

import functools
import sys
from struct import Struct

from herder import frames
from herder.codec import decode, encode, unencodable
from herder.errors import CallRejection, NoForm, ProtocolError
from herder.result_forms import declares, mro_of, package_of
from herder.results import JSON_TYPES, Encoder, Rules, Walk, failed_form
from herder.text import MAX_NESTING, with_recursion_limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from herder.binding import Command
    from herder.worker import Worker

ALIGNMENT = 16  # a buffer begins at a multiple of so many bytes from the start of its frame, and so of the body
MAX_BUFFERS = 1024  # of a value
SLAB_THRESHOLD = 65536  # bytes; smaller buffers of a result stay in the frame
PLACE_TEXT = 64  # bytes; an upper bound of what the place in a slab takes in the table
LENGTHS = Struct("<II")  # of the JSON and of the table
ORDER = "<" if sys.byteorder == "little" else ">"
# The element types for which a memoryview has a format.
FORMATS = {
    "|b1": "?",
    "|i1": "b",
    "|u1": "B",
    **{f"{ORDER}{name}": code for name, code in zip(("i2", "i4", "i8"), "hiq", strict=True)},
    **{f"{ORDER}{name}": code for name, code in zip(("u2", "u4", "u8"), "HIQ", strict=True)},
    **{f"{ORDER}{name}": code for name, code in zip(("f4", "f8"), "fd", strict=True)},
}
KINDS = {**dict.fromkeys("bhilqn", "i"), **dict.fromkeys("BHILQN", "u"), **dict.fromkeys("efd", "f"), "?": "b"}
# The sizes of the element types that arrays can have, in bytes. "b": booleans, "c": complex numbers.
SIZES = {
    f"{kind}{size}": size
    for kinds, sizes in (("b", (1,)), ("iu", (1, 2, 4, 8)), ("f", (2, 4, 8, 16)), ("c", (8, 16, 32)))
    for kind in kinds
    for size in sizes
}


class Buffer:
    """A part of a result that is binary data with a media type: `herder.Buffer(png, media_type="image/png")`.

    `data` is bytes or any other object with the buffer protocol. Over HTTP, the media type is the `Content-Type`.
    """

    __slots__ = ("_media_type", "data")

    def __init__(self, data: Any, *, media_type: str | None = None) -> None:
        memoryview(data)  # raises `TypeError`
        if media_type is not None and not (0 < len(media_type) <= 255 and media_type.isascii()):
            raise ValueError(f"media_type={media_type!r} is invalid; expected a name such as 'image/png'")
        if media_type is not None and not media_type.isprintable():
            raise ValueError(f"media_type={media_type!r} is invalid; it has control characters")
        self.data = data
        self._media_type = media_type

    @property
    def media_type(self) -> str | None:
        """The media type. It is fixed, since it is checked only once."""
        return self._media_type

    def __json__(self) -> Any:
        """Return the data, for a caller that takes no buffers."""
        return self.data


# --- arguments --------------------------------------------------------------------------------------------------------


class Section:
    """The arguments of a call with buffers, as its frame has them."""

    __slots__ = ("entries", "json", "leased", "slab", "takes_buffers", "views", "wire_id")

    def __init__(self, wire_id: int, json: memoryview, table: dict[str, Any]) -> None:
        self.wire_id = wire_id
        self.json = json
        self.entries: list[dict[str, Any]] = table["buffers"]
        self.takes_buffers: bool = table.get("take") is True
        self.views: list[memoryview | None] = []  # of the buffers in the frame; None: it is in the slab
        self.slab = next((entry["slab"] for entry in self.entries if "slab" in entry), 0)  # 0: none
        self.leased = ((wire_id, self.slab),) if self.slab else ()  # see `Worker.unleased`

    def arguments(self, worker: Worker, command: Command) -> Any:
        """Return the arguments. A buffer in the slab is taken first: see `Slabs.lease`.

        Raises `ProtocolError`, and `CallRejection` for JSON that is not valid and for a buffer that cannot be an
        argument.
        """
        if self.slab:
            ranges = [(entry["offset"], entry["offset"] + entry["len"]) for entry in self.entries if "slab" in entry]
            leased = iter(worker.get_slabs().lease(self.wire_id, self.slab, ranges))
            self.views = [next(leased) if view is None else view for view in self.views]
        arguments = worker.decode(self.json)
        if type(arguments) is dict:
            for entry, view in zip(self.entries, self.views, strict=True):
                assert view is not None
                name = entry["at"][1:].replace("~1", "/").replace("~0", "~")
                if arguments.get(name) is not None:
                    text = f"{command.name}: the argument {name!r} is given twice, as a buffer and in the JSON"
                    raise CallRejection("bad_arguments", text)
                as_array = is_array_parameter(command, name)
                arguments[name] = view_of(view, entry.get("dtype"), entry.get("shape"), as_array)
        self.views = []  # the handler has its own
        return arguments


def read_section(wire_id: int, body: memoryview, begin: int) -> Section:
    """Read the arguments of a call, which begin at the offset `begin` of its body. Raises `ProtocolError`."""
    end = len(body)
    if begin + LENGTHS.size > end:
        raise ProtocolError("short_body", "the body of a call frame is shorter than the lengths of its buffers")
    json_length, table_length = LENGTHS.unpack_from(body, begin)
    json_at = begin + LENGTHS.size + table_length
    position = json_at + json_length
    if position > end:
        raise malformed("the lengths of the JSON and of the table exceed the body")
    table = read_table(body[begin + LENGTHS.size : json_at])
    section = Section(wire_id, body[json_at:position], table)
    for entry in section.entries:
        check_entry(entry)
        if "slab" in entry or "offset" in entry:
            check_place(entry, section.slab)
            section.views.append(None)
            continue
        start = min(position + -position % ALIGNMENT, end)
        position = start + entry["len"]
        if position > end:
            raise malformed("a buffer is longer than the body")
        section.views.append(body[start:position])
    if position != end:
        raise malformed("the body is longer than its buffers")
    return section


def read_table(text: memoryview) -> dict[str, Any]:
    """Parse the table. Raises `ProtocolError`."""
    try:
        table = decode(text)
    except CallRejection as refused:
        raise malformed(refused.message) from None
    if type(table) is not dict or type(table.get("buffers")) is not list or len(table["buffers"]) > MAX_BUFFERS:
        raise malformed("the table has no list of at most 1024 buffers")
    places = set()
    for entry in table["buffers"]:
        if type(entry) is not dict or type(entry.get("len")) is not int or entry["len"] < 0:
            raise malformed("an entry has no length")
        at = entry.get("at")
        if type(at) is not str or at[:1] != "/" or "/" in at[1:] or not escapes(at):
            raise malformed("the place of an argument is not exactly one key")
        places.add(at)
    if len(places) != len(table["buffers"]):
        raise malformed("two buffers have the same place")
    return table


def escapes(pointer: str) -> bool:
    """Whether each `~` begins an escape."""
    return all(part[:1] in ("0", "1") for part in pointer.split("~")[1:])


def check_entry(entry: dict[str, Any]) -> None:
    """Check the element type and the shape of an array. Raises `ProtocolError`."""
    dtype, shape = entry.get("dtype"), entry.get("shape")
    if dtype is None and shape is None:
        return
    size = element_size(dtype)
    if size is None or type(shape) is not list or len(shape) > 64:
        raise malformed("an array has no known element type, or no shape")
    if (
        not all(type(each) is int and each >= 0 for each in shape)
        or functools.reduce(int.__mul__, shape, size) != entry["len"]
    ):
        raise malformed("the length of an array does not follow from its shape")


def check_place(entry: dict[str, Any], slab: int) -> None:
    """Check the place of a buffer in the call's slab. Raises `ProtocolError`."""
    id, offset = entry.get("slab"), entry.get("offset")
    if type(id) is not int or id < 1 or type(offset) is not int or offset < 0 or offset % ALIGNMENT:
        raise malformed("a slab has no id, or an offset that is no multiple of 16")
    if id != slab:
        raise malformed("the buffers of a call are in two slabs")


def element_size(dtype: Any) -> int | None:
    """Return the size of an element in bytes, if the element type is known."""
    return SIZES.get(dtype[1:]) if type(dtype) is str and dtype[:1] in ("<", ">", "|") else None


def malformed(reason: str) -> ProtocolError:
    """Return the error of a frame whose buffers are not laid out as they must be."""
    return ProtocolError("malformed_buffers", f"the buffers of a call frame are malformed: {reason}")


def is_array_parameter(command: Command, name: str) -> bool:
    """Whether an argument of this name is an array of numpy."""
    parameters, others = array_parameters(command)
    return parameters.get(name, others)


@functools.cache
def array_parameters(command: Command) -> tuple[dict[str, bool], bool]:
    """Return for each parameter whether it is an array of numpy, and whether arguments of other names are."""
    converter = command.arguments if command.batch is None else getattr(command, "converter", None)
    if converter is None:
        return {}, False
    from herder.typed_nodes import all_nodes

    fields = converter.fields
    others = [] if converter.kwargs is None else [converter.kwargs]
    if command.batch is not None:  # the arguments are the fields or the keys of the item, which may be of several types
        item = fields[0].node
        members = item.items if item.kind == "union" else (item,)
        fields = [field for member in members for field in member.fields]
        others = [value for member in members if member.kind == "dict" for value in member.items[1:]]
    arrays = [field.name for field in fields if any(each.kind == "ndarray" for each in all_nodes([field.node]))]
    return (
        {field.name: field.name in arrays for field in fields},
        any(each.kind == "ndarray" for each in all_nodes(others)),
    )


def view_of(view: memoryview, dtype: str | None, shape: list[int] | None, as_array: bool) -> Any:
    """Return a read-only view of a buffer: an array of numpy or a memoryview, with its element type and shape."""
    if dtype is None or shape is None:
        return view
    if as_array:
        import numpy as np  # type: ignore[import-not-found,unused-ignore]  # imported by the app, for the annotation

        return np.ndarray(shape, dtype, view)
    code = FORMATS.get(dtype)
    if code is None or 0 in shape:  # a memoryview has no such format, or cannot be cast
        return view
    return view.cast(code, shape)  # type: ignore[call-overload,unused-ignore]


# --- results ----------------------------------------------------------------------------------------------------------


class ResultEncoder:
    """Encodes the results of an app for callers that take buffers."""

    def __init__(self, encoders: dict[type, Callable[[Any], Any]], nan_as_null: bool) -> None:
        self.encoder = Encoder(Rules(encoders), nan_as_null)
        self.known: dict[type, bool] = {Buffer: True}  # whether the values of a type can be buffers
        self.plain_encoder = Encoder(RulesWithoutBuffers(self.is_buffer), nan_as_null)

    def answer(self, worker: Worker, name: str, head: tuple[int, int, int], value: Any, copy: bool) -> list[Any]:
        """Return the parts of the `result` frame of the command `name`. `head`: wire id, started and ended.

        `copy`: whether data that may change until it is written must be copied. Raises `CallRejection`.
        """
        json, found = self.encode(value)
        if not found:
            return sized(name, frames.RESULT, head, [json], worker.max_frame)
        word, kept = frames.RESULT | frames.BUFFERS << 8, sys.maxsize if copy else SLAB_THRESHOLD
        parts = sized(name, word, head, section_parts(frames.STAMPS_SIZE, json, found), worker.max_frame)
        # Its size is checked with all bytes in the frame, so that it does not depend on their place.
        room = worker.max_frame + frames.HEADER_SIZE - sum(map(len, parts))
        if worker.slab_fd >= 0 and move_to_slab(worker, found, room):
            parts = sized(name, word, head, section_parts(frames.STAMPS_SIZE, json, found), worker.max_frame)
        # Small views are copied too: one of an argument would keep its slab until the answer is written.
        return [part if type(part) is bytes or len(part) >= kept else bytes(part) for part in parts]

    def encode(self, value: Any) -> tuple[bytes, list[tuple[dict[str, Any], bytes | memoryview]]]:
        """Return the JSON with `null` in the places of buffers, and for each buffer its entry and its bytes."""
        walk = BufferWalk(self)
        encoder = self.encoder
        try:
            if not encoder.rules.encoders:  # those of an app could consume a value, which the walk would find empty
                # Most results have no buffers, and the walk takes ten times as long.
                try:
                    return with_recursion_limit(MAX_NESTING, self.plain_encoder.write, value), []
                except Exception:  # `NeedsWalk`, or an error that the walk finds again
                    pass
            plain = with_recursion_limit(MAX_NESTING, walk.plain, value)
            if len(walk.found) > MAX_BUFFERS:
                raise NoForm(f"it has {len(walk.found)} buffers; the limit is {MAX_BUFFERS}")
            if len({entry["at"] for entry, _ in walk.found}) != len(walk.found):  # keys such as 1 and "1"
                raise NoForm("two buffers have keys of the same form in JSON")
            return with_recursion_limit(MAX_NESTING, encoder.write, plain), walk.found
        except NoForm as found:
            raise unencodable(NoForm(f"{walk.place()}: {found}")) from None
        except BaseException as error:
            raise unencodable(error) from None
        finally:
            encoder.markers.clear()
            self.plain_encoder.markers.clear()

    def is_buffer(self, value: Any) -> bool:
        """Whether values of this type can be buffers: they have the buffer protocol, and no form of the app's."""
        kind = type(value)
        found = self.known.get(kind)
        if found is None:
            found = not issubclass(kind, JSON_TYPES) and self.has_buffer_protocol(value)
            if len(self.known) < 1024:  # a handler may create types without end
                self.known[kind] = found
        return found

    def has_buffer_protocol(self, value: Any) -> bool:
        """Whether a value of a type that is not known yet can be a buffer."""
        bases = mro_of(type(value))
        names = [(package_of(base), base.__name__) for base in bases]
        if any(base in self.encoder.rules.encoders and base is not object for base in bases):
            return False
        if declares(bases, "__json__") or ("enum", "Enum") in names or ("numpy", "generic") in names:
            return False
        if ("numpy", "MaskedArray") in names:  # its buffer has the masked elements too
            return False
        if ("pyarrow", "Table") in names or ("pyarrow", "RecordBatch") in names:
            return True
        try:
            memoryview(value)
        except TypeError:
            return declares(bases, "__dlpack__")
        except (ValueError, BufferError):
            # An array of dates, or a value that is closed or released. Each value of the type is looked at again.
            return True
        return True


def section_parts(begin: int, json: bytes, found: list[tuple[dict[str, Any], bytes | memoryview]]) -> list[Any]:
    """Return the parts of a body from `begin` on: lengths, table, JSON, and each buffer with the padding before it."""
    table = encode({"buffers": [entry for entry, _ in found]})
    parts: list[Any] = [LENGTHS.pack(len(json), len(table)), table, json]
    position = begin + LENGTHS.size + len(table) + len(json)
    for entry, data in found:
        if "slab" in entry:
            continue
        padding = -position % ALIGNMENT
        parts += (bytes(padding), data)
        position += padding + entry["len"]
    return parts


def item_encoder(worker: Worker) -> Callable[[Any], bytes]:
    """Return what encodes the items of one stream, with their buffers. It is not shared: a thread may use it."""
    encoder = ResultEncoder(worker.app._encoders, worker.app._nan_as_null)

    def encode(item: Any) -> bytes:
        json, found = encoder.encode(item)
        # A copy, since the generator may change an array before it is sent.
        return b"".join(section_parts(0, json, found))

    return encode


def move_to_slab(worker: Worker, found: list[tuple[dict[str, Any], bytes | memoryview]], room: int) -> bool:
    """Copy the large buffers of a result into a slab, if one has room. Return whether it has.

    `room`: how many bytes the table may grow. The host kills a worker whose result exceeds `max_frame` with its slab.
    """
    large = [(entry, data) for entry, data in found if entry["len"] >= SLAB_THRESHOLD]
    if not large or len(large) * PLACE_TEXT > room:
        return False
    try:
        slabs = worker.get_slabs()
    except (ImportError, OSError):  # a hook has dropped the rights to read the module
        return False
    place = slabs.place([data for _, data in large])
    if place is None:
        return False
    slab, offsets = place
    for (entry, _), offset in zip(large, offsets, strict=True):
        entry.update(slab=slab, offset=offset)
    return True


def sized(name: str, word: int, head: tuple[int, int, int], parts: list[Any], max_frame: int) -> list[Any]:
    """Return a frame of these parts. Raises `CallRejection` if it is too large. `word`: its kind and flags."""
    from herder.error_frames import result_too_large

    size = frames.STAMPS_SIZE + sum(map(len, parts))
    if size > max_frame:
        raise result_too_large(name, size, max_frame)
    return [frames.RESULT_HEAD.pack(size, word, *head), *(part for part in parts if part)]


class NeedsWalk(Exception):
    """A result can have buffers, or has a value with `__json__`, which must be called only once."""


class RulesWithoutBuffers(Rules):
    """The rules of a result without buffers and `__json__`. Raises `NeedsWalk` for others."""

    def __init__(self, is_buffer: Callable[[Any], bool]) -> None:
        super().__init__({})
        self.is_buffer = is_buffer

    def form(self, value: Any) -> Any:
        """Return the form of a value."""
        if self.is_buffer(value):
            raise NeedsWalk
        return super().form(value)

    def find(self, kind: type) -> Callable[[Any], Any] | None:
        """Find the form of a type."""
        if declares(mro_of(kind), "__json__"):
            raise NeedsWalk
        return super().find(kind)


class BufferWalk(Walk):
    """A walk through a result that takes the buffers out of it."""

    def __init__(self, encoder: ResultEncoder) -> None:
        super().__init__(encoder.encoder.rules, encoder.encoder.nan_as_null)
        self.is_buffer = encoder.is_buffer
        self.found: list[tuple[dict[str, Any], bytes | memoryview]] = []

    def plain(self, value: Any) -> Any:
        """Return a value in types that JSON has, with None for each buffer."""
        if self.is_buffer(value):
            try:
                found = bytes_of(value)
            except (ValueError, BufferError) as error:  # it is closed or released
                raise failed_form(type(value), error) from None
            if found is not None:
                entry, data = found
                self.found.append(({"at": self.pointer(), **entry}, data))
                return None
        return super().plain(value)

    def pointer(self) -> str:
        """Return the JSON Pointer of the current place."""
        return "".join(f"/{key_text(part).replace('~', '~0').replace('/', '~1')}" for part in self.path)


def key_text(part: Any) -> str:
    """Return one step of a path as JSON has it: an index, or a key, which is a tuple of one."""
    if type(part) is int:
        return str(part)
    key = part[0]
    return key if type(key) is str else decode(encode({key: 0})[1:-3])


def bytes_of(value: Any) -> tuple[dict[str, Any], bytes | memoryview] | None:
    """Return the entry of a buffer, without its place, and its bytes; None if the value has a form in JSON only."""
    extra: dict[str, Any] = {}
    data: bytes | memoryview
    if type(value) is Buffer:
        extra = {} if value.media_type is None else {"type": value.media_type}
        value = value.data
    if type(value) is bytes:
        return {"len": len(value), **extra}, value
    names = [(package_of(base), base.__name__) for base in mro_of(type(value))]
    if ("pyarrow", "Table") in names or ("pyarrow", "RecordBatch") in names:
        from herder import arrow

        data = arrow.as_stream(value)
        return {"len": len(data), "type": arrow.MEDIA_TYPE, **extra}, data
    is_array = ("numpy", "ndarray") in names
    if is_array or is_tensor(value):
        if not is_array:
            from herder.tensors import as_array

            value = as_array(value)
        # Without its class: `numpy.matrix` would keep two dimensions below.
        array = sys.modules["numpy"].asarray(value)
        if element_size(array.dtype.str) is None:  # no numbers or booleans
            return None
        data = flat_array(array)
        return {"len": len(data), "dtype": array.dtype.str, "shape": list(array.shape), **extra}, data
    view = memoryview(value)
    shape: Any = view.shape
    data = view.cast("B") if view.c_contiguous and view.nbytes and view.format in KINDS else view.tobytes()
    kind = KINDS.get(view.format)
    if kind is not None and (view.format != "B" or view.ndim != 1):
        name = f"{'|' if view.itemsize == 1 else ORDER}{kind}{view.itemsize}"
        extra = {"dtype": name, "shape": list(shape), **extra}
    return {"len": len(data), **extra}, data


def is_tensor(value: Any) -> bool:
    """Whether a value has no buffer protocol, but is exported by DLPack."""
    if not declares(mro_of(type(value)), "__dlpack__"):
        return False
    try:
        memoryview(value)
    except TypeError:
        return True
    return False


def flat_array(array: Any) -> bytes | memoryview:
    """Return the bytes of an array of numpy in C order. They are copied only if the array is not in this order."""
    if not array.flags.c_contiguous or array.size == 0:
        data: bytes = array.tobytes()
        return data
    return memoryview(array.reshape(-1).view("u1"))


# --- for `herder.testing` ---------------------------------------------------------------------------------------------


def split_arguments(arguments: dict[str, Any], command: Command) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments that JSON has, and the others as the handler gets them from a call with buffers."""
    encoder, plain, buffers = ResultEncoder({}, True), {}, {}
    for name, value in arguments.items():
        found = bytes_of(value) if encoder.is_buffer(value) else None
        if found is None:
            plain[name] = value
            continue
        entry, data = found
        view = memoryview(bytes(data))
        buffers[name] = view_of(view, entry.get("dtype"), entry.get("shape"), is_array_parameter(command, name))
    return plain, buffers


def placed(json: bytes, found: list[tuple[dict[str, Any], bytes | memoryview]]) -> Any:
    """Return the result of a call with its buffers in their places, as memoryviews."""
    root = [decode(json)]
    for entry, data in found:
        container: Any = root
        key: Any = 0
        for step in entry["at"].split("/")[1:]:
            container = container[key]
            key = int(step) if type(container) is list else step.replace("~1", "/").replace("~0", "~")
        container[key] = view_of(memoryview(bytes(data)), entry.get("dtype"), entry.get("shape"), False)
    return root[0]
