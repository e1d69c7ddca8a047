"""`App`: the table of commands and hooks that a worker serves. Knows nothing of sockets or processes."""

from __future__ import annotations

from types import SimpleNamespace

from herder.binding import Command, is_async

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar, overload

    F = TypeVar("F", bound=Callable[..., Any])
else:

    def overload(function):
        """Take nothing from `typing`: its import costs a bare worker 1.5 MiB."""
        return function


class App:
    """The commands of a worker.

        app = herder.App()

        @app.command
        def add(a: int, b: int) -> int:
            return a + b

    `app.state` is yours: an attribute bag that lives as long as the worker.
    """

    def __init__(self) -> None:
        self.state = SimpleNamespace()
        self._functions: dict[str, tuple[Callable[..., Any], bool]] = {}
        self._on_start: list[Callable[[], Any]] = []
        self._on_session_end: list[Callable[..., Any]] = []

    @overload
    def command(self, function: F, /) -> F: ...
    @overload
    def command(self, /, *, name: str | None = None, idempotent: bool = False) -> Callable[[F], F]: ...

    def command(self, function: F | None = None, /, *, name: str | None = None, idempotent: bool = False) -> Any:
        """Register a function as a command, under its own name or `name`.

        The keys of a call's JSON object become keyword arguments; parameters annotated `herder.Session` and
        `herder.Call` are filled in. The function may be plain, `async def`, or a generator (its items become a list).
        `idempotent` says that it may run again elsewhere when its worker dies in the middle.
        """

        def register(function: F) -> F:
            known = name or getattr(function, "__name__", None)
            if not known:
                raise TypeError(f"{function!r} has no name: register it with @app.command(name=...)")
            if known in self._functions:
                raise ValueError(f"the command {known!r} is already registered")
            if len(known.encode()) > 0xFFFF:
                raise ValueError("a command name is limited to 65535 bytes")
            self._functions[known] = (function, idempotent)
            return function

        return register if function is None else register(function)

    def on_start(self, function: F) -> F:
        """Run `function()` once in each worker, before it says ready. If it raises, the worker does not start."""
        self._on_start.append(function)
        return function

    def on_session_end(self, function: F) -> F:
        """Run `function(session, reason)` once for each session that ended; reason is "ended", "expired" or "moved".

        What it raises goes to the log only.
        """
        self._on_session_end.append(function)
        return function

    def _commands(self) -> dict[str, Command]:
        """The commands with their signatures read. Raises `TypeError` for a function that can't be called by names."""
        return {name: Command(name, *entry) for name, entry in self._functions.items()}

    def _uses_asyncio(self) -> bool:
        functions = [entry[0] for entry in self._functions.values()] + self._on_start + self._on_session_end
        return any(is_async(function) for function in functions)
