"""Herder for worker authors: create an `App` and register functions as commands, which Herder then calls.

Importing this package is cheap on purpose: it imports neither asyncio nor typing, so a worker starts in milliseconds.
"""

import os
import sys

if sys.version_info < (3, 10):  # noqa: UP036 - Python 3.6 must be able to run the code up to here
    raise ImportError(
        "Python 3.10 or later is required, but {} is version {}.{}.{}".format(sys.executable, *sys.version_info[:3])
    )

if (
    sys.argv[:1] == ["-m"]
    and ("-m", "herder") in zip(sys.orig_argv, sys.orig_argv[1:], strict=False)
    and sys.path
    and sys.path[0] == os.getcwd()
):
    # This is a worker that was started with `-m`. A `types.py` in the current folder must not replace a module of the
    # standard library. `load` adds the folder again before it imports the application.
    del sys.path[0]

if "HERDER_BYTECODE" in os.environ:  # this worker runs the copy of the package that the host has written
    from herder import bytecode

    bytecode.prepare()  # before the other modules are imported: they would be compiled twice otherwise

from herder.app import App
from herder.call import Call, current_call
from herder.errors import HookTimeout, Interrupted, Rejected, SessionStateUnavailable
from herder.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from herder.buffers import Buffer
    from herder.depends import Depends
    from herder.meta import Meta

__version__ = "0.1.0"
__all__ = [
    "App",
    "Buffer",
    "Call",
    "Depends",
    "HookTimeout",
    "Interrupted",
    "Meta",
    "Rejected",
    "Session",
    "SessionStateUnavailable",
    "current_call",
]

if not TYPE_CHECKING:  # type checkers would believe that every name exists

    def __getattr__(name):  # no annotations: old versions must reach the version check
        """Import `Buffer`, `Depends` and `Meta` when an app uses them."""
        if name == "Buffer":
            from herder.buffers import Buffer

            return Buffer
        if name == "Depends":
            from herder.depends import Depends

            return Depends
        if name == "Meta":
            from herder.meta import Meta

            return Meta
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
