"""The node of an array of numpy: `numpy.ndarray`, or `numpy.typing.NDArray[numpy.float32]`. No state.

A buffer becomes an array that shares its memory and is read-only. An array in JSON is a list, nested for each
dimension. Imported only if a handler has such a parameter, whose annotation shows that the app has imported numpy.
"""

from __future__ import annotations

import sys

from herder.argument_errors import InvalidValue
from herder.text import text
from herder.typed_nodes import Node, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Which kinds of elements a list may have for a dtype: `[1, 2]` fits an array of floats, `[1.5]` no array of integers.
FITTING_KINDS = {"f": "fiu", "c": "cfiu", "i": "iu", "u": "iu", "b": "b"}
NOT_AN_ARRAY = ("array_type", "Input should be a buffer, or a list of numbers, nested for each dimension")


def array_node(annotation: Any) -> Node:
    """Return the node of `numpy.ndarray`, with or without a dtype. Raises `Unsupported` for a dtype of other values."""
    np = sys.modules["numpy"]
    dtype = element_type(annotation)
    if dtype is not None and dtype.kind not in FITTING_KINDS:
        raise Unsupported(f"an array of {dtype} is not supported; expected numbers or booleans")

    def convert(value: Any) -> Any:
        if type(value) is memoryview:
            value = from_view(value)
        elif type(value) is list:
            return from_list(value)
        elif type(value) is not np.ndarray:
            raise InvalidValue(*NOT_AN_ARRAY)
        if dtype is None or value.dtype == dtype:
            return value
        if value.dtype.newbyteorder("=") == dtype:
            converted = value.astype(dtype)
            converted.flags.writeable = False
            return converted
        raise InvalidValue("array_dtype", f"Input should be an array of {dtype}, not of {value.dtype}")

    def from_view(view: memoryview) -> Any:
        """A buffer without a dtype is one dimension of what the annotation says, else of bytes."""
        if view.ndim != 1 or view.format != "B" or dtype is None:
            return np.asarray(view)
        if view.nbytes % dtype.itemsize:
            text = f"Input should have a multiple of {dtype.itemsize} bytes, an array of {dtype}"
            raise InvalidValue("array_size", text)
        return np.ndarray((view.nbytes // dtype.itemsize,), dtype, view)

    def from_list(value: list[Any]) -> Any:
        try:
            found = np.array(value)
        except (ValueError, OverflowError) as error:
            raise InvalidValue("array_type", f"Input should be an array: {text(error, 100)}") from None
        target = found.dtype if dtype is None else dtype
        if found.size and found.dtype.kind not in FITTING_KINDS.get(target.kind, ""):
            if dtype is None or found.dtype.kind in "USOV":
                raise InvalidValue(*NOT_AN_ARRAY)
            raise InvalidValue("array_dtype", f"Input should be an array of {dtype}, not of {found.dtype}")
        converted = found.astype(target)
        if target.kind in "iu" and not np.array_equal(converted, found):
            raise InvalidValue("array_range", f"Input should have numbers in the range of {dtype}")
        return converted

    label = "ndarray" if dtype is None else f"ndarray[{dtype}]"
    return Node("ndarray", convert, label=label, annotation=annotation, hashable=False)


def element_type(annotation: Any) -> Any:
    """Return the dtype in `numpy.ndarray[shape, numpy.dtype[T]]`, or None if it names none. Raises `Unsupported`."""
    np = sys.modules["numpy"]
    arguments: Any = getattr(annotation, "__args__", None) or ()
    scalar = (getattr(arguments[1], "__args__", None) or (None,))[0] if len(arguments) > 1 else None
    if scalar is None or not isinstance(scalar, type):  # any dtype, or a type variable
        return None
    try:
        found = np.dtype(scalar)
    except TypeError:  # an abstract type, such as `numpy.floating`
        raise Unsupported(
            f"an array of {scalar.__name__} has no exact element type; write one such as float32"
        ) from None
    return found
