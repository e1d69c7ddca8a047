"""Tables and record batches of pyarrow, which travel as a stream of Arrow's IPC format in a buffer. No state.

Imported only if a handler returns one, or has a parameter with such a type. The app has imported pyarrow then.
"""

from __future__ import annotations

import struct
import sys

from herder.argument_errors import InvalidValue
from herder.call import calls
from herder.errors import NoForm
from herder.text import text
from herder.typed_nodes import Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MEDIA_TYPE = "application/vnd.apache.arrow.stream"
TYPES = (("pyarrow", "Table"), ("pyarrow", "RecordBatch"))  # package and name
NOT_A_TABLE = ("arrow_type", "Input should be a buffer with a stream of Arrow record batches, or a list of objects")


def as_stream(value: Any) -> memoryview:
    """Return a table or a record batch as bytes."""
    pa = sys.modules["pyarrow"]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, value.schema) as writer:
        writer.write(value)
    return memoryview(sink.getvalue())


def as_records(value: Any) -> Any:
    """Return the form in JSON: a list of objects, one for each row. Raises `NoForm`."""
    names = value.schema.names
    if len(set(names)) != len(names):
        raise NoForm("an Arrow table with two columns of one name cannot be encoded as records; rename one of them")
    return value.to_pylist()


def arrow_node(cls: type[Any]) -> Node:
    """Return the node of `pyarrow.Table` or `pyarrow.RecordBatch`. Its columns share the memory of the buffer."""
    pa: Any = sys.modules["pyarrow"]

    def convert(value: Any) -> Any:
        if type(value) is cls:
            return value
        try:
            if type(value) is memoryview:
                check_decompressed(pa, value)
                table = pa.ipc.open_stream(pa.py_buffer(value)).read_all()
                # Offsets and texts that are not valid would crash the process when the handler reads them.
                table.validate(full=True)
            elif type(value) is list:
                table = pa.Table.from_pylist(value)
            else:
                raise InvalidValue(*NOT_A_TABLE)
        except (pa.ArrowException, OSError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise InvalidValue("arrow_type", f"Input should be a table of Arrow: {text(error, 200)}") from None
        return table if cls is pa.Table else one_batch(pa, table)

    return Node("arrow", convert, label=cls.__name__, annotation=cls, hashable=False)


def check_decompressed(pa: Any, stream: memoryview) -> None:
    """Refuse a stream that states more than `max_frame` bytes without compression: Arrow allocates these."""
    size = 0
    for message in pa.ipc.MessageReader.open_stream(pa.py_buffer(stream)):
        try:
            size += decompressed_size(memoryview(message.metadata), memoryview(message.body))
        except (struct.error, IndexError) as error:
            raise ValueError(f"the metadata of a message is invalid: {error}") from None
        if size > calls.max_frame:
            limit = f"the limit is {calls.max_frame} bytes (`max_frame`)"
            raise ValueError(f"its columns have at least {size} bytes without compression; {limit}")


def decompressed_size(metadata: memoryview, body: memoryview) -> int:
    """Return how many bytes Arrow allocates for the compressed buffers of a message. Raises `struct.error`.

    The metadata is a FlatBuffer of Arrow's `Message.fbs`, whose positions pyarrow does not give. Arrow verifies it
    before it uses it, so only a valid one must be read correctly.
    """

    def number(form: str, position: int) -> int:
        if position < 0:
            raise IndexError("a position is negative")
        [found] = struct.unpack_from(form, metadata, position)
        return int(found)

    def field(table: int, index: int) -> int:
        """Return the position of a field of a table, or 0 if it is absent."""
        fields = table - number("<i", table)
        slot = 4 + 2 * index
        offset = number("<H", fields + slot) if slot < number("<H", fields) else 0
        return table + offset if offset else 0

    def referred(position: int) -> int:
        return position + number("<I", position)

    message = referred(0)
    kind_at, batch_at = field(message, 1), field(message, 2)
    kind = number("<B", kind_at) if kind_at else 0
    if kind not in (2, 3) or not batch_at:  # `DictionaryBatch` and `RecordBatch`
        return 0
    batch = referred(batch_at)
    if kind == 2:
        data_at = field(batch, 1)
        if not data_at:
            return 0
        batch = referred(data_at)
    buffers_at = field(batch, 2)
    if not field(batch, 3) or not buffers_at:  # no compression
        return 0
    buffers, size = referred(buffers_at), 0
    begin, end = buffers + 4, buffers + 4 + 16 * number("<I", buffers)
    if end > len(metadata):
        raise IndexError("the buffers exceed the metadata")
    for offset, length in struct.iter_unpack("<qq", metadata[begin:end]):
        if length > 0 and 0 <= offset <= len(body) - 8:
            [stated] = struct.unpack_from("<q", body, offset)
            size += max(stated, 0)  # -1: this buffer is not compressed
    return size


def one_batch(pa: Any, table: Any) -> Any:
    """Return the rows of a table as one record batch. Copies them only if they are in several."""
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
