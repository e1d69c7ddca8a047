"""Loads the application that `APP` names: `module:app` or `path/to/file.py:app`."""

from __future__ import annotations

import importlib
import os
import sys

from herder import stdlib
from herder.app import App
from herder.errors import StartFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

EASTER_EGGS = frozenset({"antigravity", "this"})  # importing these standard library modules has side effects


def load(target: str) -> App:
    """Return the `App`. Raises `StartFailed`, or the exception of the module.

    Sets `sys.argv` to `[target]`, so that `argparse` in the application does not read Herder's arguments.
    """
    path, colon, name = target.rpartition(":")
    if not colon or not path or not name:
        raise StartFailed(f"{target!r} is not an app: write `module:app` or `path/to/file.py:app`")
    sys.argv = [target]
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    module = _import_file(path) if path.endswith(".py") else _import_module(path)
    app = _find_attribute(module, name)
    if app is None:
        raise StartFailed(f"{path!r} has no {name!r}; {_candidates(module)}")
    if not isinstance(app, App):
        raise StartFailed(f"{target!r} is a {type(app).__name__}, not a herder.App; {_candidates(module)}")
    _refuse_second_copy(module, name, app)
    if not app._functions:
        raise StartFailed(
            f"{target!r} has no commands: import the module that has its `@app.command` functions in the app's module,"
            " below `app = herder.App()`"
        )
    return app


def _find_attribute(module: ModuleType, name: str) -> object:
    value: object = module
    for part in name.split("."):
        value = getattr(value, part, None)
    return value


def _candidates(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, App)]
    return f"found: {', '.join(names)}" if names else "no object in it is a herder.App; write `app = herder.App()`"


def _refuse_second_copy(module: ModuleType, name: str, app: App) -> None:
    """Raise `StartFailed` if the file was imported a second time: the other app has some of the commands."""
    for copy in _copies(module):
        other = _find_attribute(copy, name)
        if isinstance(other, App) and other is not app:
            raise StartFailed(
                f"{module.__file__} was imported twice, as `{module.__name__}` and as `{copy.__name__}`, which creates"
                f" two apps with some of the commands each. Name the app `{copy.__name__}:{name}`, or import"
                f" `{module.__name__}` in the other modules"
            )


def _copies(module: ModuleType) -> list[ModuleType]:
    """Return the other modules that were loaded from the same file."""
    file = getattr(module, "__file__", None) or ""
    names = {os.path.basename(file), os.path.basename(os.path.realpath(file))}
    copies: list[ModuleType] = []
    for other in list(sys.modules.values()):
        # Not `other.__file__`: an attribute access would load a lazy module.
        try:
            path = object.__getattribute__(other, "__dict__").get("__file__")
        except AttributeError:
            continue
        # Compare the names first: resolving the links of every module would take longer than the rest of the start.
        is_candidate = other is not module and isinstance(path, str) and os.path.basename(path) in names
        if is_candidate and _is_same_file(path, file):
            copies.append(other)
    return copies


def _is_same_file(file: object, other: str) -> bool:
    return isinstance(file, str) and (file == other or os.path.realpath(file) == os.path.realpath(other))


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise StartFailed(f"module {error.name!r} not found in {', '.join(sys.path)}") from None
        raise


def _import_file(path: str) -> ModuleType:
    """Import the file as a module of its own name, with its real folder on `sys.path` as for a script.

    A file in a package (with an `__init__.py` beside it) is imported by its name in the package.
    """
    if not os.path.isfile(path):
        raise StartFailed(f"file {path!r} does not exist (the current folder is {os.getcwd()!r})")
    folder, file = os.path.split(os.path.realpath(path))
    parent, package = _enclosing_package(folder)
    if package and file[:-3].isidentifier() and _is_package_name_free(package.partition(".")[0], parent):
        return _import_from_package(folder, file, parent, package)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return _execute_file(path, os.path.join(folder, file), _module_name(file[:-3]))


def _import_from_package(folder: str, file: str, parent: str, package: str) -> ModuleType:
    if parent not in sys.path:
        sys.path.insert(0, parent)
    if folder not in sys.path:
        sys.path.append(folder)  # last, so that a `types.py` in the package does not replace the standard library's
    name = package if file == "__init__.py" else f"{package}.{file[:-3]}"
    module = importlib.import_module(name)
    path = os.path.join(folder, file)
    if not _is_same_file(module.__file__, path):
        raise StartFailed(f"`{name}` is {module.__file__}, not {path}: another package is named `{package}`")
    return module


def _enclosing_package(folder: str) -> tuple[str, str]:
    """Return the parent folder of the outermost package around `folder`, and the dotted name of `folder`, or ""."""
    names: list[str] = []
    while os.path.isfile(os.path.join(folder, "__init__.py")) and os.path.basename(folder).isidentifier():
        folder, name = os.path.split(folder)
        names.insert(0, name)
    return folder, ".".join(names)


def _is_package_name_free(package: str, parent: str) -> bool:
    """Whether no other module has the name of the package."""
    loaded = sys.modules.get(package)
    if loaded is not None:
        return _is_same_file(getattr(loaded, "__file__", None), os.path.join(parent, package, "__init__.py"))
    return package not in sys.stdlib_module_names


def _module_name(name: str) -> str:
    """Return the module name for a file: not a standard library name, since a `json.py` would break `import json`."""
    if name in sys.stdlib_module_names - EASTER_EGGS:
        # Import the standard library module now. A later import would find the application's file a second time.
        try:
            stdlib.import_stdlib(name)
        except Exception:
            return f"_app_{name}"
    return f"_app_{name}" if name in sys.modules else name


def _execute_file(path: str, real: str, name: str) -> ModuleType:
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(name, real)
    if spec is None or spec.loader is None:
        raise StartFailed(f"{path!r} cannot be loaded as Python")
    module = module_from_spec(spec)
    module.__file__ = os.path.abspath(path)  # a symbolic link is not resolved, as for a script
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
