"""`App`: the commands and hooks of a worker. Holds no descriptor and starts nothing."""

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
        """Replace `typing.overload`: importing `typing` costs 1.5 MiB in each worker."""
        return function


class App:
    """The commands of a worker.

        app = herder.App()

        @app.command
        def add(a: int, b: int) -> int:
            return a + b

    `app.state` is a namespace for the application's own objects. It exists as long as the worker.
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

        The keys of a call's JSON object become keyword arguments. Herder supplies parameters annotated `herder.Session`
        and `herder.Call`. The function may be plain, `async def`, or a generator (its items become a list). Set
        `idempotent` if a call may run more than once without harm: Herder retries it when its worker is lost.
        """

        def register(function: F) -> F:
            command = name or getattr(function, "__name__", None)
            if not command:
                raise TypeError(f"{function!r} has no name: register it with @app.command(name=...)")
            if command in self._functions:
                raise ValueError(f"the command {command!r} is already registered")
            if len(command.encode()) > 0xFFFF:
                raise ValueError("a command name is limited to 65535 bytes")
            self._functions[command] = (function, idempotent)
            return function

        return register if function is None else register(function)

    def on_start(self, function: F) -> F:
        """Run `function()` once in each worker before it is ready. If it raises, the worker does not start."""
        self._on_start.append(function)
        return function

    def on_session_end(self, function: F) -> F:
        """Run `function(session, reason)` once for each ended session; `reason` is "ended", "expired" or "moved".

        Exceptions of the function are only logged.
        """
        self._on_session_end.append(function)
        return function

    def _commands(self) -> dict[str, Command]:
        """Return the commands. Raises `TypeError` for a function that cannot be called with keyword arguments."""
        return {name: Command(name, *entry) for name, entry in self._functions.items()}

    def _uses_asyncio(self) -> bool:
        functions = [entry[0] for entry in self._functions.values()] + self._on_start + self._on_session_end
        return any(is_async(function) for function in functions)
