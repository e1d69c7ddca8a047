"""Find the application that `APP` names: `module:app` or `path/to/file.py:app`."""

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

ADVICE = frozenset({"antigravity", "this"})  # modules of the standard library that nobody imports to use them


def load(target: str) -> App:
    """The `App`. Raises `StartFailed` with a text for a human, or whatever the module itself raises.

    `sys.argv` becomes `[target]`, so that an `argparse` of the application does not read Herder's own arguments.
    """
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise StartFailed(f"{target!r} is not an app: write `module:app` or `path/to/file.py:app`")
    sys.argv = [target]
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    module = _file(place) if place.endswith(".py") else _module(place)
    found = _attribute(module, name)
    if found is None:
        raise StartFailed(f"{place!r} has no {name!r}; {_candidates(module)}")
    if not isinstance(found, App):
        raise StartFailed(f"{target!r} is a {type(found).__name__}, not a herder.App; {_candidates(module)}")
    _refuse_two(module, name, found)
    if not found._functions:
        raise StartFailed(
            f"{target!r} has no commands: import the module that has its `@app.command` functions in the app's module, below"
            " `app = herder.App()`"
        )
    return found


def _attribute(module: ModuleType, name: str) -> object:
    found: object = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _candidates(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, App)]
    return f"found: {', '.join(names)}" if names else "it has no herder.App (write `app = herder.App()`)"


def _refuse_two(module: ModuleType, name: str, found: App) -> None:
    """Raise `StartFailed` if another copy of the module has an app of its own: its commands would be missing."""
    for other in _copies(module):
        app = _attribute(other, name)
        if isinstance(app, App) and app is not found:
            raise StartFailed(
                f"{module.__file__} was imported twice, as `{module.__name__}` and as `{other.__name__}`, which creates two"
                f" apps with some of the commands each. Name the app `{other.__name__}:{name}`, or import"
                f" `{module.__name__}` in the other modules"
            )


def _copies(module: ModuleType) -> list[ModuleType]:
    """Return the other modules that were loaded from the same file."""
    file = getattr(module, "__file__", None) or ""
    names = {os.path.basename(file), os.path.basename(os.path.realpath(file))}
    copies = []
    for other in list(sys.modules.values()):
        try:
            path = object.__getattribute__(other, "__dict__").get(
                "__file__"
            )  # wakes no module that loads itself lazily
        except AttributeError:
            continue
        # To resolve the links of every module would take longer than the rest of the start.
        if other is not module and isinstance(path, str) and os.path.basename(path) in names and _same(path, file):
            copies.append(other)
    return copies


def _same(file: object, other: str) -> bool:
    return isinstance(file, str) and (file == other or os.path.realpath(file) == os.path.realpath(other))


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise StartFailed(f"module {error.name!r} not found in {', '.join(sys.path)}") from None
        raise


def _file(path: str) -> ModuleType:
    """Run the file as a module of its own name, with its real folder on `sys.path` as for a script.

    A file within a package (`__init__.py` beside it) is imported by its name there: modules beside it do the same.
    """
    if not os.path.isfile(path):
        raise StartFailed(f"file {path!r} does not exist (the current folder is {os.getcwd()!r})")
    folder, file = os.path.split(os.path.realpath(path))
    above, package = _package(folder)
    if package and file[:-3].isidentifier() and _is_free(package.partition(".")[0], above):
        return _in_package(folder, file, above, package)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return _run(path, os.path.join(folder, file), _free_name(file[:-3]))


def _in_package(folder: str, file: str, above: str, package: str) -> ModuleType:
    if above not in sys.path:
        sys.path.insert(0, above)
    if folder not in sys.path:
        sys.path.append(folder)  # last: a `types.py` of the package is only `package.types`
    name = package if file == "__init__.py" else f"{package}.{file[:-3]}"
    module = importlib.import_module(name)
    whole = os.path.join(folder, file)
    if not _same(module.__file__, whole):
        raise StartFailed(f"`{name}` is {module.__file__}, not {whole}: another package is named `{package}`")
    return module


def _package(folder: str) -> tuple[str, str]:
    """Return the folder that holds the outermost package around `folder`, and the dotted name of `folder`, or ""."""
    names: list[str] = []
    while os.path.isfile(os.path.join(folder, "__init__.py")) and os.path.basename(folder).isidentifier():
        folder, name = os.path.split(folder)
        names.insert(0, name)
    return folder, ".".join(names)


def _is_free(package: str, above: str) -> bool:
    """Whether no other module has the name of the package."""
    loaded = sys.modules.get(package)
    if loaded is not None:
        return _same(getattr(loaded, "__file__", None), os.path.join(above, package, "__init__.py"))
    return package not in sys.stdlib_module_names


def _free_name(name: str) -> str:
    """Return the name to import a file as: no standard library name, or a `json.py` would break `import json`."""
    if name in sys.stdlib_module_names - ADVICE:
        try:
            stdlib.module(name)  # now, or whoever imports it next would find the application's file a second time
        except Exception:
            return f"_app_{name}"
    return f"_app_{name}" if name in sys.modules else name


def _run(path: str, real: str, name: str) -> ModuleType:
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(name, real)
    if spec is None or spec.loader is None:
        raise StartFailed(f"{path!r} cannot be loaded as Python")
    module = module_from_spec(spec)
    module.__file__ = os.path.abspath(path)  # for a symbolic link this is the link, as in a script
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
