"""Writes the bytecode of the host's copy of this package. The first worker of each interpreter does that.

The host refuses unknown files in the package's folder. So it sets PYTHONDONTWRITEBYTECODE for workers, and
HERDER_BYTECODE to the previous value. The bytecode is written even if the user has set PYTHONDONTWRITEBYTECODE, which
is meant for the user's files: compiling this package takes longer than the rest of a worker's start.

For each interpreter, `__pycache__` has a record: a copy of its bytecode files, with which the host compares them.
"""

import os
import sys
from importlib.util import cache_from_source

KEY = "HERDER_BYTECODE"
DONT_WRITE = "PYTHONDONTWRITEBYTECODE"


def prepare() -> None:
    """Write the missing files. On failure, this package is compiled at each start."""
    try:
        if sys.pycache_prefix is None and _ensure_written():
            restore_environment()
    except (OSError, NotImplementedError):  # NotImplementedError: this interpreter has no bytecode files
        pass


def restore_environment() -> None:
    """Restore PYTHONDONTWRITEBYTECODE for the application and the programs that it starts."""
    before = os.environ.pop(KEY, None)
    if before:
        os.environ[DONT_WRITE] = before
    elif before is not None:
        os.environ.pop(DONT_WRITE, None)
        sys.dont_write_bytecode = False


def _ensure_written() -> bool:
    folder = os.path.dirname(os.path.abspath(__file__))
    names = sorted(name for name in os.listdir(folder) if name.endswith(".py"))
    sources = [os.path.join(folder, name) for name in names]
    targets = [cache_from_source(source) for source in sources]
    if all(map(os.path.exists, targets)):
        return True
    import fcntl

    lock = os.open(folder, os.O_RDONLY)
    try:
        # The other workers of the pool wait here. When they have the lock, the files exist: check again.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not all(map(os.path.exists, targets)):
            _write_all(folder, sources, targets)
    finally:
        os.close(lock)
    return True


def _write_all(folder: str, sources: list[str], targets: list[str]) -> None:
    """Write the record and the files. Each is written completely elsewhere and then renamed into place."""
    draft = os.path.join(os.path.dirname(os.path.dirname(folder)), f".bytecode-{os.urandom(8).hex()}")
    os.mkdir(draft, 0o700)
    try:
        drafts = [os.path.join(draft, os.path.basename(target)) for target in targets]
        record = os.path.join(draft, "record")
        _compile(sources, drafts, record)
        cache, first = os.path.split(targets[0])
        tag = first.split(".", 1)[1].removesuffix(".pyc")
        os.makedirs(cache, 0o700, exist_ok=True)
        # The record must never be older than a file: the host refuses a file that differs from its record. So the old
        # files are removed first, then the record is replaced, and the new files follow.
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
            # Unchecked: Python does not compare the bytecode with the source, since the host has checked both.
            unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
            py_compile.compile(source, draft, doraise=True, invalidation_mode=unchecked)
            with open(draft, "rb") as compiled:
                code = compiled.read()
            copy.write(len(code).to_bytes(8, "little") + code)
