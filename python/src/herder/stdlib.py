"""Imports standard library modules for Herder even if the application has files of the same names.

The application's folders come first on `sys.path`, as for a script, but asyncio must not import a `random.py` there.
`sys.path` itself is not changed, since threads of the application may import at the same time.
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

STDLIB_FOLDER = os.path.dirname(os.__file__)
STDLIB_PATH = [STDLIB_FOLDER, *(folder for folder in sys.path if os.path.basename(folder) == "lib-dynload")]

_state = _local()  # how often this thread has entered `prefer_stdlib`
_copies: dict[str, ModuleType] = {}


class Finder:
    """The first finder of a worker. It finds nothing unless this thread has entered `prefer_stdlib`."""

    @staticmethod
    def find_spec(name: str, path: Any = None, _target: Any = None) -> ModuleSpec | None:
        """Return the spec of a standard library module. Builtin modules are left to the next finders."""
        if path is not None or not getattr(_state, "entered", 0) or name not in sys.stdlib_module_names:
            return None
        return PathFinder.find_spec(name, STDLIB_PATH)


class prefer_stdlib:  # noqa: N801 - a context manager
    """A context in which imports of this thread find the standard library before the application's files."""

    def __enter__(self) -> None:
        _state.entered = getattr(_state, "entered", 0) + 1

    def __exit__(self, *_: object) -> None:
        _state.entered -= 1


def install() -> None:
    """Add the finder to this process. Only workers call this: importing the package must change no other process."""
    if Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)


def import_stdlib(name: str) -> ModuleType:
    """Return the standard library module `name`, as a private copy if the application has a module of that name."""
    copy = _copies.get(name)
    if copy is not None:
        return copy
    with prefer_stdlib():
        module = __import__(name)
        return module if is_stdlib(module) else _load_private_copy(name)


def is_stdlib(module: ModuleType) -> bool:
    """Whether `module` belongs to the standard library: it is builtin, frozen, or loaded from one of its files."""
    file = getattr(module, "__file__", None)
    return not file or (os.path.dirname(file).startswith(tuple(STDLIB_PATH)) and "-packages" not in file)


def _load_private_copy(name: str) -> ModuleType:
    from importlib.util import module_from_spec

    spec = PathFinder.find_spec(name, STDLIB_PATH)
    if spec is None or spec.loader is None:
        raise ImportError(f"the standard library module {name!r} was not found in {', '.join(STDLIB_PATH)}", name=name)
    copy = module_from_spec(spec)
    spec.loader.exec_module(copy)
    _copies[name] = copy
    return copy
