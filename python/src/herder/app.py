"""`App`: the commands and hooks of a worker. Holds no descriptor and starts nothing."""

from __future__ import annotations

import sys
from types import SimpleNamespace

from herder.binding import Command, is_async

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal, TypeVar, overload

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

    `app.dependency_overrides` maps providers of `herder.Depends` to those that replace them, as in tests:
    `app.dependency_overrides[get_conn] = fake_conn`.

    JSON has neither NaN nor infinities: a result with one is an error, or with `nan="null"` has `null` there.

    Handlers that are not `async` run on the main thread, one at a time, and block the async ones meanwhile. With
    `run_sync="thread"` each runs in a thread, and up to the pool's `concurrency` at once. They are not interrupted when
    their call is cancelled: check `herder.current_call().cancelled`.
    """

    def __init__(
        self, *, nan: Literal["error", "null"] = "error", run_sync: Literal["main", "thread"] = "main"
    ) -> None:
        if nan not in ("error", "null"):
            raise ValueError(f"nan={nan!r} is invalid; expected 'error' or 'null'")
        _check_run_sync(run_sync)
        self.state = SimpleNamespace()
        self._nan_as_null = nan == "null"
        self._encoders: dict[type, Callable[[Any], Any]] = {}
        self._run_sync = run_sync
        self._threaded: set[str] = set()  # the commands whose handlers run in threads if they are not async
        self._functions: dict[str, tuple[Callable[..., Any], bool]] = {}
        self._on_start: list[Callable[[], Any]] = []
        self._on_session_end: list[Callable[..., Any]] = []
        self.dependency_overrides: dict[Callable[..., Any], Callable[..., Any]] = {}
        self._needs_loop = False  # whether a command is async; known after `_commands`

    @overload
    def command(self, function: F, /) -> F: ...
    @overload
    def command(
        self,
        /,
        *,
        name: str | None = None,
        idempotent: bool = False,
        run_sync: Literal["main", "thread"] | None = None,
    ) -> Callable[[F], F]: ...

    def command(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        idempotent: bool = False,
        run_sync: Literal["main", "thread"] | None = None,
    ) -> Any:
        """Register a function as a command, under its own name or `name`.

        The keys of a call's JSON object become keyword arguments. Herder supplies parameters annotated `herder.Session`
        and `herder.Call`. The function may be plain, `async def`, or a generator (its items become a list). Set
        `idempotent` if a call may run more than once without harm: Herder retries it when its worker is lost.
        `run_sync` overrides that of the app.
        """
        if isinstance(function, str):
            raise TypeError(f"@app.command({function!r}) takes no name in this place: write name={function!r}")
        if run_sync is not None:
            _check_run_sync(run_sync)

        def register(function: F) -> F:
            command = name or getattr(function, "__name__", None)
            if not command:
                raise TypeError(f"{function!r} has no name: register it with @app.command(name=...)")
            if command in self._functions:
                raise ValueError(f"the command {command!r} is already registered")
            if len(command.encode()) > 0xFFFF:
                raise ValueError("a command name is limited to 65535 bytes")
            self._functions[command] = (function, idempotent)
            if (run_sync or self._run_sync) == "thread" and not is_async(function):
                self._threaded.add(command)
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

    def encoder(self, kind: type, /) -> Callable[[F], F]:
        """Register a function that returns the form in JSON of a value of the type `kind` or of its subclasses.

            @app.encoder(Money)
            def encode_money(money: Money) -> dict[str, object]:
                return {"amount": money.amount, "currency": money.currency}

        The form may have values that need a form themselves. An encoder is preferred to `__json__` and to the forms of
        Herder, that of the nearest base class to the others; that of `object` is asked last. It may run more than once
        for a value. With an encoder for a subclass of `str`, `int`, `float`, `list`, `tuple` or `dict`, all results of
        the app are encoded in Python and not in C.
        """
        # Not `isinstance`: Python 3.10 calls `list[int]` an instance of `type`.
        is_class = issubclass(type(kind), type)  # pyright: ignore[reportUnnecessaryIsInstance]
        if not is_class or kind in (str, int, float, bool, type(None), list, tuple, dict):
            raise TypeError(f"@app.encoder({kind!r}) is invalid; expected a class that JSON does not have")

        def register(function: F) -> F:
            if kind in self._encoders:
                raise ValueError(f"{kind!r} already has an encoder")
            if is_async(function):
                raise TypeError(f"the encoder of {kind!r} must not be async")
            self._encoders[kind] = function
            return function

        return register

    def _encode(self) -> Callable[[Any], bytes]:
        """Return the function that encodes results."""
        from herder.results import make_encode  # here, since programs that only import `herder` do not need it

        return make_encode(self._encoders, self._nan_as_null)

    def _commands(self) -> dict[str, Command]:
        """Return the commands. Raises `TypeError` for a function that cannot be called with keyword arguments."""
        compiler = None
        if "herder.depends" in sys.modules:
            from herder.dependencies import Compiler

            compiler = Compiler(self.dependency_overrides)
        commands = {name: Command(name, *entry, compiler) for name, entry in self._functions.items()}
        for name in self._threaded:
            if commands[name].is_async:
                raise TypeError(
                    f"command {name!r} runs in a thread, where its async dependencies cannot be awaited; declare it"
                    " with `async def`, or its providers without `async`"
                )
            commands[name].in_thread = True
        self._needs_loop = any(command.is_async for command in commands.values())
        return commands

    def _uses_asyncio(self) -> bool:
        if self._threaded or self._needs_loop:
            return True
        functions = [entry[0] for entry in self._functions.values()] + self._on_start + self._on_session_end
        return any(is_async(function) for function in functions)


def _check_run_sync(value: str) -> None:
    if value not in ("main", "thread"):
        raise ValueError(f"run_sync={value!r} is invalid; expected 'main' or 'thread'")
