"""Herder for worker authors: make an `App`, register functions as commands, and Herder calls them.

Importing this package is cheap on purpose (no asyncio, no typing): a bare worker starts in milliseconds.
"""

import os

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
