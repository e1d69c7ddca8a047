"""Finds a copy of this package that is installed for the interpreter, and compares it with the host's copy.

`__main__.py` loads this file by its path, before it imports the package: the worker imports the installed copy if that
equals the host's copy. Imports no other module of the package.
"""

from __future__ import annotations

import os
import sys

KEY = "HERDER_BYTECODE"
DONT_WRITE = "PYTHONDONTWRITEBYTECODE"


def choose(folders: list[str], own: str) -> dict[str, str] | None:
    """Select the first installed copy in `folders`, if it equals the one in the folder `own`.

    Return what the worker's hello states: the path and, if the copy is not used, the reason. Return None if there is
    no copy in `folders`.
    """
    real = os.path.realpath(own)
    rest = [folder for folder in sys.path if os.path.realpath(folder) != real]
    for folder in folders:
        version = _version(folder)
        if version is None:
            continue  # an application's package or folder of the same name
        reason = _difference(folder, own, version) or _other_package(folder, rest) or _bytecode_problem(folder)
        if reason is None:
            _use(rest)
            return {"path": folder}
        return {"path": folder, "unused": reason}
    return None


def _version(folder: str) -> str | None:
    """Return the version of the copy in a folder, or None if what is there is not this package."""
    try:
        text = _read(folder, "__init__.py").decode()
    except (OSError, UnicodeDecodeError):
        return None
    _, found, rest = text.partition('\n__version__ = "')
    return rest.partition('"')[0] if found and "from herder.app import App\n" in text else None


def _difference(folder: str, own: str, version: str) -> str | None:
    host = _version(own)
    if version != host:
        return (
            f"it has version {version}, and the host has version {host}: install that version"
            " (`herder python install`, or its wheel), or uninstall the copy"
        )
    for name in sorted(os.listdir(os.path.join(own, "herder"))):
        if not name.endswith(".py"):
            continue
        try:
            is_equal = _read(folder, name) == _read(own, name)
        except FileNotFoundError:
            is_equal = False
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
        if not is_equal:
            return (
                f"its {name} differs from that of the host, although both have version {version}: install that of the"
                " host (`herder python install`, or the wheel that the host's program comes from)"
            )
    return None


def _other_package(folder: str, path: list[str]) -> str | None:
    """Return a reason if `import herder` would find something else, such as a folder of the application."""
    from importlib.machinery import PathFinder

    spec = PathFinder.find_spec("herder", path)
    origin = None if spec is None else spec.origin
    if origin is not None and os.path.dirname(os.path.dirname(origin)) == folder:
        return None
    return f"{origin} has the same name and is before it on `sys.path`"


def _bytecode_problem(folder: str) -> str | None:
    """Return why a worker would have to compile the copy at each start, or None."""
    from importlib.util import cache_from_source

    package = os.path.join(folder, "herder")
    try:
        if os.path.exists(cache_from_source(os.path.join(package, "worker.py"))):
            return None
    except NotImplementedError:
        return "the interpreter has no bytecode files"
    if sys.pycache_prefix is None and not os.environ.get(KEY) and os.access(package, os.W_OK):
        return None  # Python writes the files, as it does for other packages
    return f"it is not compiled: run `{sys.executable} -m compileall {package}`"


def _use(path: list[str]) -> None:
    """Leave the host's copy out of `sys.path`, and restore PYTHONDONTWRITEBYTECODE for the installed copy."""
    sys.path[:] = path
    before = os.environ.pop(KEY, "")
    if before:
        os.environ[DONT_WRITE] = before
    else:
        os.environ.pop(DONT_WRITE, None)
        sys.dont_write_bytecode = False


def _read(folder: str, name: str) -> bytes:
    with open(os.path.join(folder, "herder", name), "rb", buffering=0) as file:
        return file.read()
