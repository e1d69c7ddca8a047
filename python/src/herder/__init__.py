"""Herder for worker authors: make an `App`, register functions as commands, and Herder calls them.

Importing this package is cheap on purpose (no asyncio, no typing): a bare worker starts in milliseconds.
"""

import os
import sys

if sys.version_info < (3, 10):  # noqa: UP036 - nothing newer than Python 3.6 may stand before it
    raise ImportError("Python 3.10 or later is required, but {} is version {}.{}.{}".format(sys.executable, *sys.version_info[:3]))

if (
    sys.argv[:1] == ["-m"]
    and ("-m", "herder") in zip(sys.orig_argv, sys.orig_argv[1:], strict=False)
    and sys.path
    and sys.path[0] == os.getcwd()
):
    # A worker that was started with `-m`: nothing of the standard library may come from the folder it was started in.
    del sys.path[0]  # the application finds its modules there all the same, see `load`

if "HERDER_BYTECODE" in os.environ:  # a worker that runs the copy of this package which the host has written
    from herder import bytecode

    bytecode.prepare()  # before the other modules are imported, or they would be compiled twice

from herder.app import App
from herder.call import Call, current_call
from herder.errors import HookTimeout, Interrupted, Rejected, SessionStateUnavailable
from herder.session import Session

__version__ = "0.1.0"
__all__ = [
    "App",
    "Call",
    "HookTimeout",
    "Interrupted",
    "Rejected",
    "Session",
    "SessionStateUnavailable",
    "current_call",
]
