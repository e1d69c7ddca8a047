"""Arrays of other libraries than numpy, such as `torch.Tensor`, which are exchanged by DLPack. No state.

Imported only if a handler returns one, or has a parameter with such a type. None of the libraries is imported here,
except numpy, which every exchange needs.
"""

from __future__ import annotations

import sys

from herder.argument_errors import InvalidValue
from herder.errors import NoForm
from herder.result_forms import declares, mro_of, package_of, type_path
from herder.text import text
from herder.typed_nodes import Node, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

IN_MEMORY = frozenset({1, 3, 11, 13})  # the device types of DLPack whose memory the CPU can read


def as_array(value: Any) -> Any:
    """Return an array of numpy that shares the memory of a tensor. Raises `NoForm`."""
    name = type_path(type(value))
    try:
        import numpy as np  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise NoForm(f"a value of type {name} cannot be sent without numpy; install it for the workers") from None
    try:
        device = int(value.__dlpack_device__()[0])
        if device in IN_MEMORY:
            return np.from_dlpack(value)
    except Exception as error:
        raise NoForm(f"a value of type {name} cannot be exported by DLPack: {text(error)}") from None
    raise NoForm(f"a value of type {name} is in the memory of a device; copy it to the CPU, as with `.cpu()`")


def as_list(value: Any) -> Any:
    """Return the form of a tensor in JSON: nested lists, or a number if it has no dimensions."""
    return value.tolist() if declares(mro_of(type(value)), "tolist") else as_array(value).tolist()


def tensor_node(cls: type[Any]) -> Node:
    """Return the node of a type of tensors. Raises `Unsupported` if its library cannot make one from an array."""
    package = package_of(cls)
    modules = [sys.modules.get(name) for name in (package, f"{package}.dlpack", f"{package}.numpy")]
    from_dlpack = next((found for each in modules if (found := getattr(each, "from_dlpack", None))), None)
    if from_dlpack is None:
        raise Unsupported(f"{type_path(cls)} cannot be made from an array: {package} has no `from_dlpack`")

    def convert(value: Any) -> Any:
        import numpy as np

        from herder.typed_arrays import array_node

        # A copy, since most libraries have no tensors that are read-only.
        array = array_node(np.ndarray).convert(value).copy()
        try:
            return from_dlpack(array)
        except Exception as error:  # the library has no such element type or byte order, which the caller has chosen
            message = f"Input should be an array that {package} can take: {text(error, 100)}"
            raise InvalidValue("tensor_type", message) from None

    return Node("ndarray", convert, label=cls.__name__, annotation=cls, hashable=False)
