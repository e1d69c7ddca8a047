"""`App`: the commands and hooks of a worker. Holds no descriptor and starts nothing."""

from __future__ import annotations

from types import SimpleNamespace

from herder.binding import Command
from herder.errors import StartFailed
from herder.signatures import check_hook, is_async, name_of, place_of, wraps_async

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from typing import Any, Literal, TypeVar, overload

    from herder.dependencies import Compiler

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

    `lifespan(app)` returns a context manager, sync or async, which each worker enters before its `on_start` hooks and
    leaves after its `on_stop` hooks. If it yields a dict, its items become attributes of `app.state`:

        @contextlib.asynccontextmanager
        async def lifespan(app: herder.App):
            async with connect() as connection:
                yield {"connection": connection}

        app = herder.App(lifespan=lifespan)

    `app.dependency_overrides` maps providers of `herder.Depends` to those that replace them, as in tests:
    `app.dependency_overrides[get_conn] = fake_conn`.

    JSON has neither NaN nor infinities: a result with one is an error, or with `nan="null"` has `null` there.

    Handlers that are not `async` run on the main thread, one at a time, and block the async ones meanwhile. With
    `run_sync="thread"` each runs in a thread, and up to the pool's `concurrency` at once. They are not interrupted when
    their call is cancelled: check `herder.current_call().cancelled`.
    """

    def __init__(
        self,
        *,
        nan: Literal["error", "null"] = "error",
        run_sync: Literal["main", "thread"] = "main",
        lifespan: Callable[[App], AbstractAsyncContextManager[Any] | AbstractContextManager[Any]] | None = None,
    ) -> None:
        if nan not in ("error", "null"):
            raise ValueError(f"nan={nan!r} is invalid; expected 'error' or 'null'")
        _check_run_sync(run_sync)
        if lifespan is not None:
            if not callable(lifespan):
                raise TypeError(f"lifespan={lifespan!r} is invalid; expected a function that returns a context manager")
            check_hook("lifespan", lifespan)
        self.state = SimpleNamespace()
        self._nan_as_null = nan == "null"
        self._encoders: dict[type[Any], Callable[[Any], Any]] = {}
        self._run_sync = run_sync
        self._threaded: set[str] = set()  # the commands whose handlers run in threads if they are not async
        self._limits: dict[
            str, tuple[int | None, int | None]
        ] = {}  # commands with a timeout or concurrency of their own
        self._functions: dict[str, tuple[Callable[..., Any], bool]] = {}
        self._batches: dict[str, tuple[int, int]] = {}  # the commands with batches: most calls, longest wait
        self._lifespan = lifespan
        self._on_start: list[Callable[[], Any]] = []
        self._on_stop: list[Callable[[], Any]] = []
        self._health: Callable[[], Any] | None = None
        self._on_session_start: list[Callable[..., Any]] = []
        self._on_session_end: list[Callable[..., Any]] = []
        self.dependency_overrides: dict[Callable[..., Any], Callable[..., Any]] = {}
        # The next two are known after `_commands`.
        self._needs_loop = False  # whether a command is async
        self._session_scoped: str | None = None  # the name of a dependency that needs session state

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
        timeout: float | str | None = None,
        concurrency: int | None = None,
    ) -> Callable[[F], F]: ...

    def command(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        idempotent: bool = False,
        run_sync: Literal["main", "thread"] | None = None,
        timeout: float | str | None = None,
        concurrency: int | None = None,
    ) -> Any:
        """Register a function as a command, under its own name or `name`.

        The keys of a call's JSON object become keyword arguments. Herder supplies parameters annotated `herder.Session`
        and `herder.Call`. The function may be plain, `async def`, or a generator: a caller gets its items as a list, or
        as a stream if it asks for one. Set `idempotent` if a call may run more than once without harm: Herder retries
        it when its worker is lost. `run_sync` overrides that of the app.

        `timeout`, in seconds or as in "500ms", is the most time that a call may take, with its time in the queue and
        its retries; a shorter deadline of the call applies. `concurrency` is the most calls of the command that run at
        once in one worker, of those that the pool's `concurrency` allows. Further ones wait there, and hold up no other
        command.
        """
        if isinstance(function, str):
            raise TypeError(f"@app.command({function!r}) takes no name in this place: write name={function!r}")
        if run_sync is not None:
            _check_run_sync(run_sync)
        limits = (None if timeout is None else _milliseconds(timeout), _check_concurrency(concurrency))

        def register(function: F) -> F:
            command = name or getattr(function, "__name__", None)
            if not command:
                raise TypeError(f"{function!r} has no name: register it with @app.command(name=...)")
            if command in self._functions:
                raise ValueError(f"the command {command!r} is already registered")
            if len(command.encode()) > 0xFFFF:
                raise ValueError("a command name is limited to 65535 bytes")
            self._functions[command] = (function, idempotent)
            if limits != (None, None):
                self._limits[command] = limits
            if (run_sync or self._run_sync) == "thread" and not is_async(function):
                self._threaded.add(command)
            return function

        return register if function is None else register(function)

    @overload
    def batch(self, function: F, /) -> F: ...
    @overload
    def batch(
        self,
        /,
        *,
        max_batch_size: int = 32,
        max_wait: float | str = "2ms",
        name: str | None = None,
        idempotent: bool = False,
        run_sync: Literal["main", "thread"] | None = None,
        timeout: float | str | None = None,
        concurrency: int | None = None,
    ) -> Callable[[F], F]: ...

    def batch(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        max_batch_size: int = 32,
        max_wait: float | str = "2ms",
        name: str | None = None,
        idempotent: bool = False,
        run_sync: Literal["main", "thread"] | None = None,
        timeout: float | str | None = None,
        concurrency: int | None = None,
    ) -> Any:
        """Register a function as a command that runs several calls at once.

            @app.batch(max_batch_size=32, max_wait="2ms")
            def predict(items: list[Item]) -> list[float]:
                return model.predict([item.x for item in items]).tolist()

        Its parameter is a list with the arguments of each call, one object each. It returns a list with the result of
        each call, in the same order; an exception instance there, such as `herder.Rejected("..")`, is the error of that
        call only. An exception that it raises is that of each call.

        A batch runs once it has `max_batch_size` calls, or the oldest one has waited for `max_wait` (in seconds, or as
        in "2ms") and a worker is free. `herder.current_call().calls` are the calls of the batch. The other options are
        those of `command`; a batch counts once for `concurrency`.
        """
        if isinstance(function, str):
            raise TypeError(f"@app.batch({function!r}) takes no name in this place: write name={function!r}")
        limits = (_check_batch_size(max_batch_size), _microseconds(max_wait))

        def register(function: F) -> F:
            command: Any = name or getattr(function, "__name__", None)
            self.command(name=name, idempotent=idempotent, run_sync=run_sync, timeout=timeout, concurrency=concurrency)(
                function
            )
            self._batches[command] = limits
            return function

        return register if function is None else register(function)

    def on_start(self, function: F) -> F:
        """Run `function()` once in each worker before it is ready. If it raises, the worker does not start."""
        check_hook("on_start", function)
        self._on_start.append(function)
        return function

    def on_stop(self, function: F) -> F:
        """Run `function()` once in each worker that stops in an orderly way, after its last call.

        Several functions run in reverse order. Their exceptions are only logged. From the shutdown message on, a worker
        has `stop.grace` to end; one that has not is killed. They do not run in a worker that dies or is killed.
        """
        check_hook("on_stop", function)
        self._on_stop.append(function)
        return function

    def on_session_start(self, function: F) -> F:
        """Run `function(session)` once for each session, as the first part of its first call.

        The deadline and the cancel of that call apply. If `function` raises, the call fails with the exception, the
        state of the session is dropped, and its next call runs the functions again. Not in a pool without session
        affinity.
        """
        check_hook("on_session_start", function)
        self._on_session_start.append(function)
        return function

    def on_session_end(self, function: F) -> F:
        """Run `function(session, reason)` once for each ended session; `reason` is "ended", "expired" or "moved".

        Exceptions of the function are only logged.
        """
        check_hook("on_session_end", function)
        self._on_session_end.append(function)
        return function

    def health(self, function: F) -> F:
        """Run `function()` in each worker when the pool checks its health (`health.interval`).

        If it raises, returns False or does not end within `health.timeout`, the worker is replaced after its calls have
        ended. Between two calls, a function that is not async delays the next one by its run time.
        """
        if self._health is not None:
            raise ValueError(f"the app already has a health function: {name_of(self._health)}{place_of(self._health)}")
        check_hook("health", function)
        self._health = function
        return function

    def encoder(self, kind: type[Any], /) -> Callable[[F], F]:
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

    def _codec(self) -> tuple[Callable[[bytes | memoryview], Any], Callable[[Any], bytes]]:
        """Return the functions that decode arguments and encode results. They use orjson if it is installed."""
        from herder import codec  # here, for the same reason

        plain = codec.decode, self._encode()
        if not codec.is_orjson_installed():
            return plain
        from herder import orjson_codec

        return orjson_codec.make_codec(plain[1], self._nan_as_null) or plain

    def _commands(self) -> dict[str, Command]:
        """Return the commands. Raises `TypeError` for a function that cannot be called with keyword arguments."""
        compilers: list[Compiler] = []

        def compiler() -> Compiler:
            if not compilers:
                from herder.dependencies import Compiler  # here, since most apps have no dependencies

                compilers.append(Compiler(self.dependency_overrides))
            return compilers[0]

        commands = {
            name: Command(name, *entry, compiler) if name not in self._batches else self._batch_command(name, *entry)
            for name, entry in self._functions.items()
        }
        for made in compilers:
            self._session_scoped = made.session_scoped()
            made.add_hooks(self._on_session_end, self._on_stop)
        for name in self._threaded:
            if commands[name].is_async:
                raise TypeError(
                    f"command {name!r} runs in a thread, where its async dependencies cannot be awaited; declare it"
                    " with `async def`, or its providers without `async`"
                )
            commands[name].in_thread = True
        for name, limits in self._limits.items():
            commands[name].timeout_ms, commands[name].concurrency = limits
        self._needs_loop = any(command.is_async for command in commands.values())
        return commands

    def _batch_command(self, name: str, function: Callable[..., Any], idempotent: bool) -> Command:
        from herder.batches import BatchCommand  # here, since most apps have no batches

        return BatchCommand(name, function, idempotent, self._batches[name])

    def _check_scopes(self, unavailable: str | None) -> None:
        """Raise `StartFailed` if a dependency belongs to a session, in a pool without session state."""
        if self._session_scoped is not None and unavailable is not None:
            raise StartFailed(
                f'the dependency {self._session_scoped} has scope="session", but this pool has no session state:'
                f" {unavailable}"
            )

    def _uses_asyncio(self) -> bool:
        if self._threaded or self._needs_loop or self._batches:
            return True
        hooks = (*self._on_start, *self._on_stop, *self._on_session_start, *self._on_session_end)
        hooks += () if self._health is None else (self._health,)
        return any(map(wraps_async, (*(entry[0] for entry in self._functions.values()), *hooks)))

    def _extend_state(self, value: Any) -> None:
        """Add what the lifespan has yielded to `app.state`."""
        if value is None:
            return
        items = value
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in items):
            raise TypeError(
                f"the lifespan yielded an object of type {type(value).__name__}; expected nothing, or a dict whose"
                " items become attributes of `app.state`"
            )
        vars(self.state).update(items)


def _check_run_sync(value: str) -> None:
    if value not in ("main", "thread"):
        raise ValueError(f"run_sync={value!r} is invalid; expected 'main' or 'thread'")


UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}  # in milliseconds


def _milliseconds(timeout: float | str) -> int:
    """Convert a timeout: a number of seconds, or a text as in the configuration."""
    seconds: Any = timeout
    if isinstance(timeout, str):
        number = timeout.rstrip("msh")
        unit = UNITS.get(timeout[len(number) :].strip())
        try:
            seconds = float(number) * unit / 1000 if unit else None
        except ValueError:
            seconds = None
    if type(seconds) not in (int, float) or not 0.001 <= seconds <= 365 * 24 * 3600:
        raise ValueError(
            f"timeout={timeout!r} is invalid; expected seconds from 0.001 to one year, or a text such as '500ms', '2s'"
        )
    milliseconds: int = round(seconds * 1000)
    return milliseconds


def _microseconds(wait: float | str) -> int:
    """Convert the longest wait for a batch: a number of seconds, or a text such as "2ms" or "500us"."""
    seconds: Any = wait
    if isinstance(wait, str):
        number = wait.rstrip("umsh")
        unit = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}.get(wait[len(number) :].strip())
        try:
            seconds = float(number) * unit if unit else None
        except ValueError:
            seconds = None
    if type(seconds) not in (int, float) or not 0 <= seconds <= 60:
        raise ValueError(
            f"max_wait={wait!r} is invalid; expected seconds from 0 to 60, or a text such as '2ms' or '500us'"
        )
    microseconds: int = round(seconds * 1_000_000)
    return microseconds


def _check_batch_size(value: int) -> int:
    if type(value) is not int or not 1 <= value <= 65536:
        raise ValueError(f"max_batch_size={value!r} is invalid; expected an integer from 1 to 65536")
    return value


def _check_concurrency(value: int | None) -> int | None:
    if value is not None and (type(value) is not int or value < 1):
        raise ValueError(f"concurrency={value!r} is invalid; expected an integer of at least 1")
    return value
