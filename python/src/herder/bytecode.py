"""The bytecode of this package where Herder's host has put it: written by the first worker of each interpreter.

The host refuses files in the package's folder that it does not know. So it sets PYTHONDONTWRITEBYTECODE for workers,
and HERDER_BYTECODE to what that was. Bytecode is written here also where the user switched it off, which is for
files of their own: to compile this package takes longer than all the rest of a worker's start.

For each interpreter the folder `__pycache__` has a record, which is a copy of its files: the host compares them.
"""

import os
import sys
from importlib.util import cache_from_source

KEY = "HERDER_BYTECODE"
DONT_WRITE = "PYTHONDONTWRITEBYTECODE"


def prepare() -> None:
    """Write what is missing. Without it this package is compiled at each start, and works as well."""
    try:
        if sys.pycache_prefix is None and _is_written():
            restore()
    except (OSError, NotImplementedError):  # the latter: an interpreter that has no bytecode files
        pass


def restore() -> None:
    """Give the variable back what it was: it counts for the application and for what it starts."""
    before = os.environ.pop(KEY, None)
    if before:
        os.environ[DONT_WRITE] = before
    elif before is not None:
        os.environ.pop(DONT_WRITE, None)
        sys.dont_write_bytecode = False


def _is_written() -> bool:
    folder = os.path.dirname(os.path.abspath(__file__))
    names = sorted(name for name in os.listdir(folder) if name.endswith(".py"))
    sources = [os.path.join(folder, name) for name in names]
    targets = [cache_from_source(source) for source in sources]
    if all(map(os.path.exists, targets)):
        return True
    import fcntl

    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the pool's other workers wait here rather than compile the same
        if not all(map(os.path.exists, targets)):
            _write(folder, sources, targets)
    finally:
        os.close(lock)
    return True


def _write(folder: str, sources: list[str], targets: list[str]) -> None:
    """Write record and files. Each is renamed into its place whole, and a file comes only when its record is there."""
    draft = os.path.join(os.path.dirname(os.path.dirname(folder)), f".bytecode-{os.urandom(8).hex()}")
    os.mkdir(draft, 0o700)
    try:
        drafts = [os.path.join(draft, os.path.basename(target)) for target in targets]
        record = os.path.join(draft, "record")
        _compile(sources, drafts, record)
        cache, first = os.path.split(targets[0])
        tag = first.split(".", 1)[1].removesuffix(".pyc")
        os.makedirs(cache, 0o700, exist_ok=True)
        for target in filter(os.path.exists, targets):
            os.unlink(target)
        os.replace(record, os.path.join(cache, f"{tag}.record"))
        for source, target in zip(drafts, targets, strict=True):
            os.replace(source, target)
    finally:
        for name in os.listdir(draft):
            os.unlink(os.path.join(draft, name))
        os.rmdir(draft)


def _compile(sources: list[str], drafts: list[str], record: str) -> None:
    import py_compile

    with open(os.open(record, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copy:
        for source, draft in zip(sources, drafts, strict=True):
            # Python never compares it with the source: the host compares both.
            unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
            py_compile.compile(source, draft, doraise=True, invalidation_mode=unchecked)
            with open(draft, "rb") as compiled:
                code = compiled.read()
            copy.write(len(code).to_bytes(8, "little") + code)
