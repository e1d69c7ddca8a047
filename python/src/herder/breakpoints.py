"""Gives the terminal of `herder dev` to pdb in this worker, and to debuggers that are built on it, such as ipdb.

A worker is not in the foreground of the terminal: the system would stop it when it reads. So the host, which owns the
socket at HERDER_TERMINAL, makes the process group of this worker the foreground group for as long as a connection to
that socket is open. The end of this process closes the connection, too.

Imported only if the host sets HERDER_TERMINAL.
"""

from __future__ import annotations

import os
import signal
import sys
from _thread import allocate_lock, get_ident

from herder import signals
from herder.call import MAIN_THREAD
from herder.error_frames import is_ours
from herder.stdlib import import_stdlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

TERMINAL = "/dev/tty"
REFUSED = (
    "the debugger did not get the terminal, because `herder dev` is not in the foreground; continue it with the "
    "shell's command `fg`, and make the call again"
)


class Terminal:
    """The host's terminal. One thread of this process has it at a time, from its first prompt on."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.lock = allocate_lock()  # held by the thread that has the terminal
        self.owner = 0  # this thread, 0 if there is none. What follows belongs to it.
        self.prompts = 0  # how many prompts are open: the command `debug` of pdb opens one in another
        self.end: FrameType | None = None  # Herder's frame that called the code with the first prompt; None in a thread
        self.connection: Any = None
        self.streams: list[int] = []  # copies of the standard descriptors from before
        self.on_interrupt: Any = None  # the handler of SIGINT from before

    def take(self, frame: FrameType | None) -> None:
        """Wait for the terminal, unless this thread has it. `frame` is where the debugger has stopped."""
        if self.owner == get_ident():
            return
        self.lock.acquire()
        self.owner = get_ident()
        try:
            self.connection = connect(self.path)
            self.streams = use_terminal()
            self.end = herder_frame(frame)
            if self.owner == MAIN_THREAD:
                # Ctrl-C interrupts the command of the debugger, or the code that it steps over.
                self.on_interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
        except BaseException:
            self.give_back()
            raise

    def give_back(self) -> None:
        """Give the terminal back to the host, if this thread has it."""
        if self.owner != get_ident():
            return
        if self.on_interrupt is not None:
            signal.signal(signal.SIGINT, self.on_interrupt)
            if self.on_interrupt is signals.ignore:
                signal.siginterrupt(signal.SIGINT, False)
        restore_streams(self.streams)
        if self.connection is not None:
            close(self.connection)
        self.on_interrupt, self.end, self.streams, self.connection, self.owner = None, None, [], None, 0
        self.lock.release()


def connect(path: str) -> Any:
    """Ask the host for the terminal, and wait for it. Other workers may have it before."""
    socket = import_stdlib("socket")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
        if connection.recv(1):
            return connection
    except OSError:  # the host has ended
        pass
    except BaseException:
        connection.close()
        raise
    connection.close()
    raise RuntimeError(REFUSED)


def close(connection: Any) -> None:
    """Close the connection, also for a fork that has a copy of its descriptor."""
    try:
        connection.shutdown(2)
    except OSError:  # the host has ended
        pass
    connection.close()


def use_terminal() -> list[int]:
    """Make the terminal standard input, output and error. Return copies of the descriptors from before."""
    # The descriptors, not `sys.stdin` and `sys.stdout`: readline, and programs that the debugger starts, use those.
    flush()
    terminal = os.open(TERMINAL, os.O_RDWR)
    try:
        streams = [os.dup(number) for number in range(3)]
        for number in range(3):
            os.dup2(terminal, number)
    finally:
        os.close(terminal)
    return streams


def restore_streams(streams: list[int]) -> None:
    """Undo `use_terminal`."""
    if streams:
        flush()
    for number, copy in enumerate(streams):
        os.dup2(copy, number)
        os.close(copy)


def flush() -> None:
    """Write what is buffered, before the descriptors change."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # the application has replaced or closed the stream
            pass


def herder_frame(frame: FrameType | None) -> FrameType | None:
    """Return the innermost caller that is Herder's own code."""
    while frame is not None and not is_ours(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def install(pdb: Any, path: str) -> None:
    """Make the module pdb take the terminal for its prompts."""
    terminal = Terminal(path)
    prompt = pdb.Pdb.interaction

    def interaction(debugger: Any, frame: FrameType | None, *arguments: Any, **options: Any) -> None:
        if debugger.stdin is not sys.__stdin__:  # a debugger with a terminal of its own, such as remote-pdb
            prompt(debugger, frame, *arguments, **options)
            return
        if frame is not None and frame is terminal.end:
            # Stepping has left the application. Herder would wait for the next call, and the terminal with it.
            debugger.set_continue()
            terminal.give_back()
            return
        steps = False
        try:
            terminal.take(frame)
            terminal.prompts += 1
            try:
                prompt(debugger, frame, *arguments, **options)
            finally:
                terminal.prompts -= 1
            steps = terminal.end is not None and is_stepping(debugger, frame)
        finally:
            # While it steps, the debugger keeps the terminal: what is typed ahead is for its next prompt.
            if not steps and not terminal.prompts:
                terminal.give_back()

    pdb.Pdb.interaction = interaction


def is_stepping(debugger: Any, frame: FrameType | None) -> bool:
    """Whether the debugger stops again soon. `frame` is None in a post-mortem, which has one prompt."""
    return frame is not None and not debugger.quitting and debugger.stoplineno != -1
