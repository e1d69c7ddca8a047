"""The signal handlers of a worker process, and when an interrupt has to wait.

A worker ignores SIGINT, and SIGTERM until its host asks for the end: both may come to every process of a service at
once, and the host then lets calls finish. Both are ignored by a handler, not by SIG_IGN, which programs that the
application starts would inherit.
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
sigterm_ignored = False  # whether SIGTERM is ignored until `restore_sigterm`
masks: dict[int, set[int]] = {}  # by thread, of those that are forking now


def install() -> None:
    """Ignore SIGINT, leave SIGTERM at its default, print the stacks of all threads for SIGUSR1.

    Called on the main thread, once.
    """
    _ignore(signal.SIGINT)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_forked)


def hold_sigterm() -> None:
    """Ignore SIGTERM until `restore_sigterm`. Called on the main thread, when there is a thread that can restore it."""
    # `signal.signal` works on the main thread only, and that may be stuck in C at the shutdown. faulthandler puts back
    # what it replaced by a plain `sigaction`, from any thread. Its own handler never runs, since ours takes its place:
    # it would write to a descriptor that the application may have closed, and might leave another `errno` behind.
    global sigterm_ignored
    faulthandler.register(signal.SIGTERM, file=2, all_threads=False)
    _ignore(signal.SIGTERM)
    sigterm_ignored = True


def restore_sigterm() -> None:
    """Let SIGTERM end the process again, also while the main thread is stuck in C. Any thread may call it, repeatedly.

    A handler of the application's own is left alone. `signal.getsignal` is not told of the change.
    """
    global sigterm_ignored
    if not sigterm_ignored or signal.getsignal(signal.SIGTERM) is not ignore:
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
    try:
        # One that came before may still be pending, if the main thread has had no processor since. It would end the
        # process now. Only a thread that blocks a signal can take it.
        if hasattr(signal, "sigtimedwait"):
            signal.sigtimedwait((signal.SIGTERM,), 0)
        faulthandler.unregister(signal.SIGTERM)
        sigterm_ignored = False
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def is_uninterruptible(frame: FrameType | None, loop_code: Container[CodeType]) -> bool:
    """Whether `frame` or one of its callers, up to the first in `loop_code`, runs code that must not be interrupted.

    That is an import, since a module whose import is interrupted may stay broken (C extensions are initialized once per
    process), or one of the hooks around a fork in this file.
    """
    while frame is not None and frame.f_code not in loop_code:
        file = frame.f_code.co_filename
        if file.startswith(IMPORT_MACHINERY) or file == ignore.__code__.co_filename:
            return True
        frame = frame.f_back
    return False


def ignore(_signal: int, _frame: FrameType | None) -> None:
    """Do nothing."""


def _ignore(number: int) -> None:
    signal.signal(number, ignore)
    signal.siginterrupt(number, False)  # C code that does not expect EINTR must not see it


def _before_fork() -> None:
    # A signal that reaches the child before it has restored the defaults would be ignored there, and lost.
    masks[get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))


def _after_fork() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, masks.pop(get_ident()))


def _forked() -> None:
    """Restore the defaults in a fork: without them `join` after `multiprocessing.Process.terminate` never returns."""
    if signal.getsignal(signal.SIGINT) is ignore:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGTERM) is ignore:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _after_fork()
