"""Late imports of Herder's own, which look for modules only where the standard library is.

The application's folders come first on `sys.path`, as for a script. A `random.py` there must not become a part of
asyncio. `sys.path` itself is not changed, since threads of the application may import at the same time.
"""

from __future__ import annotations

import os
import sys
from _thread import _local
from importlib.machinery import PathFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

FOLDER = os.path.dirname(os.__file__)
PATH = [FOLDER, *(folder for folder in sys.path if os.path.basename(folder) == "lib-dynload")]

_state = _local()  # whether this thread has entered `prefer_stdlib`
_copies: dict[str, ModuleType] = {}


class Finder:
    """First on `sys.meta_path` of a worker. Finds nothing unless this thread has entered `prefer_stdlib`."""

    @staticmethod
    def find_spec(name: str, path: Any = None, _target: Any = None) -> ModuleSpec | None:
        """Return the spec of a module of the standard library. The next finders find builtin modules."""
        if path is not None or not getattr(_state, "entered", 0) or name not in sys.stdlib_module_names:
            return None
        return PathFinder.find_spec(name, PATH)


class prefer_stdlib:  # noqa: N801 - a context manager
    """Within it this thread's imports of top-level modules find the standard library before the application's files."""

    def __enter__(self) -> None:
        _state.entered = getattr(_state, "entered", 0) + 1

    def __exit__(self, *_: object) -> None:
        _state.entered -= 1


def install() -> None:
    """Make `prefer_stdlib` work in this process.

    Only workers call it: an import of this package changes no other process.
    """
    if Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)


def module(name: str) -> ModuleType:
    """Return the standard library's module `name`: a private copy if the application's module took that name."""
    copy = _copies.get(name)
    if copy is not None:
        return copy
    with prefer_stdlib():
        found = __import__(name)
        return found if is_stdlib(found) else _copied(name)


def is_stdlib(module: ModuleType) -> bool:
    """Whether `module` is the standard library's: builtin, frozen, or loaded from one of its files."""
    file = getattr(module, "__file__", None)
    return not file or (os.path.dirname(file).startswith(tuple(PATH)) and "-packages" not in file)


def _copied(name: str) -> ModuleType:
    from importlib.util import module_from_spec

    spec = PathFinder.find_spec(name, PATH)
    if spec is None or spec.loader is None:
        raise ImportError(f"the standard library module {name!r} was not found in {', '.join(PATH)}", name=name)
    copy = module_from_spec(spec)
    spec.loader.exec_module(copy)
    _copies[name] = copy
    return copy
