"""Tables and record batches of pyarrow, which travel as a stream of Arrow's IPC format in a buffer. No state.

Imported only if a handler returns one, or has a parameter with such a type. The app has imported pyarrow then.
"""

from __future__ import annotations

import sys

from herder.argument_errors import InvalidValue
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


def one_batch(pa: Any, table: Any) -> Any:
    """Return the rows of a table as one record batch. Copies them only if they are in several."""
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
