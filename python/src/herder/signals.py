"""The signal handlers of a worker process.

A worker ignores SIGINT, and ignores SIGTERM until the host shuts it down: a terminal or a service manager may send
both to every process at once, and the host then lets the pending calls finish.
"""

from __future__ import annotations

import faulthandler
import os
import signal
from _thread import get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container
    from types import CodeType, FrameType

IMPORT_MACHINERY = "<frozen importlib._bootstrap"  # and `_bootstrap_external`
protected_files: set[str] = set()  # an interrupt is never raised in a frame of these files, only in what they call
sigterm_ignored = False  # whether `hold_sigterm` applies
saved_masks: dict[int, set[int]] = {}  # the signal masks to restore after a fork, by the id of the forking thread


def install() -> None:
    """Ignore SIGINT, set SIGTERM to its default, and print the stacks of all threads on SIGUSR1.

    Must be called once, on the main thread.
    """
    _ignore(signal.SIGINT)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)
    os.register_at_fork(
        before=_block_signals_before_fork,
        after_in_parent=_unblock_signals_after_fork,
        after_in_child=_restore_defaults_in_fork,
    )


def ignore_interrupts() -> None:
    """Ignore SIGINT again, in a fork that is a worker itself. Must be called on the main thread."""
    _ignore(signal.SIGINT)


def hold_sigterm() -> None:
    """Ignore SIGTERM until `restore_sigterm`. Must be called on the main thread; needs the control thread."""
    # `signal.signal` works on the main thread only, and the main thread may be stuck in C code at the shutdown.
    # `faulthandler.unregister` works on any thread: it restores, with a plain `sigaction`, the handler that `register`
    # replaced, which is the default here. The handler of faulthandler itself never runs, since `_ignore` replaces it.
    # It must not: it would write to a descriptor that the application may have closed, and might change `errno`.
    global sigterm_ignored
    faulthandler.register(signal.SIGTERM, file=2, all_threads=False)
    _ignore(signal.SIGTERM)
    sigterm_ignored = True


def restore_sigterm() -> None:
    """Make SIGTERM end the process again, even while the main thread is stuck in C code. Any thread may call this.

    A handler of the application is not changed. `signal.getsignal` does not report the change.
    """
    global sigterm_ignored
    if not sigterm_ignored or signal.getsignal(signal.SIGTERM) is not ignore:
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
    try:
        # A SIGTERM from before the shutdown may still be pending, if the main thread has not run since. It was to be
        # ignored, but would end the process when the default is restored. So remove it: `sigtimedwait` takes a pending
        # signal, if the calling thread blocks it.
        if hasattr(signal, "sigtimedwait"):
            signal.sigtimedwait((signal.SIGTERM,), 0)
        faulthandler.unregister(signal.SIGTERM)
        sigterm_ignored = False
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def is_uninterruptible(frame: FrameType | None, loop_code: Container[CodeType]) -> bool:
    """Whether `frame` or one of its callers, up to the first in `loop_code`, runs code that must not be interrupted."""
    # That is an import, since a module may stay broken if its import is interrupted (C extensions are initialized once
    # per process); or a fork hook of this file, since signals would stay blocked.
    if frame is not None and frame.f_code.co_filename in protected_files:
        return True
    while frame is not None and frame.f_code not in loop_code:
        file = frame.f_code.co_filename
        if file.startswith(IMPORT_MACHINERY) or file == ignore.__code__.co_filename:
            return True
        frame = frame.f_back
    return False


def ignore(_signal: int, _frame: FrameType | None) -> None:
    """Do nothing."""


def _ignore(number: int) -> None:
    # A handler, not SIG_IGN: programs that the application starts would inherit SIG_IGN.
    signal.signal(number, ignore)
    signal.siginterrupt(number, False)  # system calls restart: C code of the application may not expect EINTR


def _block_signals_before_fork() -> None:
    # The child has the ignoring handlers until `_restore_defaults_in_fork` has run. A signal that arrived there before
    # that would be lost, and a parent that waits for the child after `terminate` would wait for ever.
    saved_masks[get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))


def _unblock_signals_after_fork() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, saved_masks.pop(get_ident()))


def _restore_defaults_in_fork() -> None:
    """Restore the defaults in a fork. Otherwise `join` after `multiprocessing.Process.terminate` never returns."""
    if signal.getsignal(signal.SIGINT) is ignore:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGTERM) is ignore:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _unblock_signals_after_fork()  # last: a pending signal is delivered here, to the restored handler
