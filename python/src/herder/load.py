"""Find the application that `APP` names: `module:app` or `path/to/file.py:app`."""

from __future__ import annotations

import importlib
import os
import sys

from herder.app import App
from herder.errors import StartFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType


def load(target: str) -> App:
    """The `App`. Raises `StartFailed` with a text for a human, or whatever the module itself raises."""
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise StartFailed(f"{target!r} names no application: write `module:app` or `path/to/file.py:app`")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    module = _file(place) if place.endswith(".py") else _module(place)
    found = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise StartFailed(f"{place!r} has no {name!r}; {_candidates(module)}")
        found = getattr(found, part)
    if not isinstance(found, App):
        raise StartFailed(f"{target!r} is a {type(found).__name__}, not a herder.App; {_candidates(module)}")
    return found


def _candidates(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, App)]
    return f"there is: {', '.join(names)}" if names else "it has no herder.App at all (write `app = herder.App()`)"


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise StartFailed(f"there is no module {error.name!r}; looked in {', '.join(sys.path)}") from None
        raise


def _file(path: str) -> ModuleType:
    """Run the file as a module of its own name, with its folder on `sys.path` as for a script."""
    if not os.path.isfile(path):
        raise StartFailed(f"there is no file {path!r} (the current folder is {os.getcwd()!r})")
    whole = os.path.abspath(path)
    folder, file = os.path.split(whole)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = file[:-3]
    if name in sys.modules or name in sys.stdlib_module_names:  # `json.py` is no reason to break `import json`
        name = f"_app_{name}"
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(name, whole)
    if spec is None or spec.loader is None:
        raise StartFailed(f"{path!r} can't be loaded as Python")
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
