"""Adds hints to the error of a failed start: modules that shadow each other, and the interpreter.

Imported only when a start has failed.
"""

from __future__ import annotations

import os
import sys

from herder import stdlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

FOLDER = os.path.dirname(os.path.abspath(__file__))


def with_hints(message: str, error: BaseException, target: str) -> str:
    """Return `message` with hints at the cause of `error`, and with the interpreter's version and path."""
    hints = [hint for hint in (_relative_import_hint(error, target), _shadowed_module_hint(error, target)) if hint]
    return f"{'; '.join([message, *hints])} ({interpreter()})"


def interpreter() -> str:
    """Return the interpreter's version and path, and whether it belongs to a virtual environment."""
    version = ".".join(map(str, sys.version_info[:3]))
    return f"Python {version}, {sys.executable or 'unknown executable'}, {_environment()}"


def _environment() -> str:
    if sys.prefix != sys.base_prefix:
        return f"virtual environment {sys.prefix}"
    stale = [_broken_venv_hint(folder) for folder in (os.environ.get("VIRTUAL_ENV"), ".venv") if folder]
    return "; ".join(["no virtual environment", *filter(None, stale)])


def _broken_venv_hint(folder: str) -> str:
    """Return why the virtual environment in `folder` is not in use, or ""."""
    python = os.path.join(folder, "bin", "python")
    if os.path.isfile(python):
        return f"VIRTUAL_ENV is {folder}, but this interpreter is not from it" if folder != ".venv" else ""
    if os.path.islink(python):
        return f"{python} is a link to {os.readlink(python)}, which does not exist"
    return "" if folder == ".venv" else f"VIRTUAL_ENV is {folder}, which has no bin/python"


def _relative_import_hint(error: BaseException, target: str) -> str:
    """Return a hint if a file that was given by its path uses relative imports: it belongs to no package."""
    if not isinstance(error, ImportError) or "no known parent package" not in str(error):
        return ""
    path, _, name = target.rpartition(":")
    folder, file = os.path.split(os.path.realpath(path))
    parent, package = os.path.split(folder)
    return (
        f"relative imports do not work in a file given by its path: name the app `{package}.{file[:-3]}:{name}`, with"
        f" {parent} as the current folder (`cwd`) or on PYTHONPATH, or put an `__init__.py` beside the file"
    )


def _shadowed_module_hint(error: BaseException, target: str) -> str:
    """Return a hint if two modules have the same name and the wrong one was imported."""
    name = _module_of(error).partition(".")[0]
    if name != "herder" and name not in sys.stdlib_module_names:
        return ""
    module = sys.modules.get(name)
    if module is not None and name != "herder" and not stdlib.is_stdlib(module):
        return f"`{name}` is {module.__file__}, which shadows the standard library module of that name: rename the file"
    owner_name = "Herder's" if name == "herder" else "the standard library's"
    folders = dict.fromkeys([os.path.dirname(os.path.realpath(target.rpartition(":")[0])), os.getcwd(), *sys.path])
    for folder in folders:
        for file in (os.path.join(folder, f"{name}.py"), os.path.join(folder, name, "__init__.py")):
            if os.path.isfile(file) and not _is_stdlib_or_herder(file):
                return f"`{name}` is {owner_name} module; {file} has the same name but is not imported: rename it"
    return ""


def _is_stdlib_or_herder(file: str) -> bool:
    """Whether `file` belongs to the standard library or to this package."""
    file = os.path.abspath(file)
    return os.path.dirname(file).startswith((FOLDER, *stdlib.STDLIB_PATH)) and "-packages" not in file


def _module_of(error: BaseException) -> str:
    """Return the name of the module that lacks a name, for an `ImportError` or an `AttributeError`."""
    if isinstance(error, ImportError):
        return error.name or ""
    owner = getattr(error, "obj", None)
    return getattr(owner, "__name__", "") if type(owner) is type(sys) else ""


def skip_herder_frames(tb: TracebackType | None) -> TracebackType | None:
    """Skip the leading frames of Herder and of the import system."""
    while tb is not None and _is_ours(tb.tb_frame.f_code.co_filename):
        tb = tb.tb_next
    return tb


def _is_ours(file: str) -> bool:
    folder = os.path.dirname(file)
    return file.startswith("<frozen importlib") or folder in (FOLDER, os.path.join(stdlib.STDLIB_FOLDER, "importlib"))
