"""Explains why a start failed, beyond the exception: modules that hide each other, and the interpreter.

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
    """Return `message` with hints at the cause of `error`, and with the interpreter."""
    hints = [hint for hint in (_relative_import_hint(error, target), _shadowed_module_hint(error, target)) if hint]
    return f"{'; '.join([message, *hints])} ({interpreter()})"


def interpreter() -> str:
    """Version and path of the interpreter, and whether it belongs to a virtual environment."""
    version = ".".join(map(str, sys.version_info[:3]))
    return f"Python {version}, {sys.executable or 'unknown executable'}, {_environment()}"


def _environment() -> str:
    if sys.prefix != sys.base_prefix:
        return f"virtual environment {sys.prefix}"
    stale = [_broken_venv_hint(folder) for folder in (os.environ.get("VIRTUAL_ENV"), ".venv") if folder]
    return "; ".join(["no virtual environment", *filter(None, stale)])


def _broken_venv_hint(folder: str) -> str:
    """Return what is wrong with a virtual environment that exists or is named, and does not have the interpreter."""
    python = os.path.join(folder, "bin", "python")
    if os.path.isfile(python):
        return f"VIRTUAL_ENV is {folder}, but this interpreter is not from it" if folder != ".venv" else ""
    if os.path.islink(python):
        return f"{python} is a link to {os.readlink(python)}, which does not exist"
    return "" if folder == ".venv" else f"VIRTUAL_ENV is {folder}, which has no bin/python"


def _relative_import_hint(error: BaseException, target: str) -> str:
    """A file that is run by its path belongs to no package."""
    if not isinstance(error, ImportError) or "no known parent package" not in str(error):
        return ""
    place, _, name = target.rpartition(":")
    folder, file = os.path.split(os.path.realpath(place))
    above, package = os.path.split(folder)
    return (
        f"relative imports do not work in a file given by its path: name the app `{package}.{file[:-3]}:{name}`, with {above}"
        f" as the current folder (`cwd`) or on PYTHONPATH, or put an `__init__.py` beside the file"
    )


def _shadowed_module_hint(error: BaseException, target: str) -> str:
    """Return a hint if two modules have the same name and the wrong one was imported."""
    name = _module_of(error).partition(".")[0]
    if name != "herder" and name not in sys.stdlib_module_names:
        return ""
    found = sys.modules.get(name)
    if found is not None and name != "herder" and not stdlib.is_stdlib(found):
        return f"`{name}` is {found.__file__}, which shadows the standard library module of that name: rename the file"
    whose = "Herder's" if name == "herder" else "the standard library's"
    folders = dict.fromkeys([os.path.dirname(os.path.realpath(target.rpartition(":")[0])), os.getcwd(), *sys.path])
    for folder in folders:
        for file in (os.path.join(folder, f"{name}.py"), os.path.join(folder, name, "__init__.py")):
            if os.path.isfile(file) and not _belongs(file):
                return f"`{name}` is {whose} module; {file} has the same name but is not imported: rename it"
    return ""


def _belongs(file: str) -> bool:
    """Whether it is a file of the standard library or of this package."""
    file = os.path.abspath(file)
    return os.path.dirname(file).startswith((FOLDER, *stdlib.PATH)) and "-packages" not in file


def _module_of(error: BaseException) -> str:
    """Return the name of the module that lacks what the code expected."""
    if isinstance(error, ImportError):
        return error.name or ""
    owner = getattr(error, "obj", None)  # of an AttributeError
    return getattr(owner, "__name__", "") if type(owner) is type(sys) else ""


def trimmed(tb: TracebackType | None) -> TracebackType | None:
    """Skip the leading frames that are Herder's or the import system's."""
    while tb is not None and _is_ours(tb.tb_frame.f_code.co_filename):
        tb = tb.tb_next
    return tb


def _is_ours(file: str) -> bool:
    folder = os.path.dirname(file)
    return file.startswith("<frozen importlib") or folder in (FOLDER, os.path.join(stdlib.FOLDER, "importlib"))
