"""Calls handlers in tests without a pool. `Client` binds arguments and encodes results as a worker does.

def test_add():
    with herder.testing.Client(app) as client:
        assert client.call("add", item="tea", session="ann") == ["tea"]
"""

from __future__ import annotations

import sys
from contextlib import aclosing, closing, contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from herder import error_frames
from herder.call import Call, Calls, task_call
from herder.codec import encode
from herder.errors import CallRejection
from herder.lifecycle import Lifespan
from herder.session import Session, Sessions

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, Callable, Generator
    from contextvars import Context
    from types import TracebackType

    from herder.app import App


class CallError(Exception):
    """Raised for a failed call. docs/protocol.md lists the kinds; `__cause__` is the handler's exception, if any."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.kind: str = fields["kind"]
        self.message: str = fields["message"]
        self.type: str | None = fields.get("type")
        self.code: str | None = fields.get("code")
        self.data: Any = fields.get("data")  # for `rejected`, as `status`
        self.status: int | None = fields.get("status")
        self.traceback: str | None = fields.get("traceback")
        self.errors: list[dict[str, Any]] = fields.get("errors", [])  # for `bad_arguments`
        super().__init__(f"{self.kind}: {self.message}")


class Client:
    """An app in this process, with separate sessions. The constructor enters its lifespan, then runs `on_start` hooks.

    `close`, or the end of the `with` block, runs its `on_stop` hooks and leaves its lifespan.

    Set `session_state` to a message to test handlers as in a pool without session affinity: `session.state` then
    raises `SessionStateUnavailable` with it.

    `headers` are those of each call, with names in lower case.

    An argument that is binary data (bytes, an array of numpy) is a buffer: the handler gets a read-only view. With
    `take_buffers`, such parts of a result are memoryviews; without it they have their forms in JSON.

    In a running event loop, write `async with Client(app) as client`, and await the methods of `client`, which is an
    `AsyncClient`. The hooks then run when the block is entered.
    """

    def __init__(
        self,
        app: App,
        *,
        session_state: str | None = None,
        headers: dict[str, str] | None = None,
        take_buffers: bool = False,
    ) -> None:
        self._app = app
        self._commands = app._commands()
        self._overrides = dict(app.dependency_overrides)
        app._check_scopes(session_state)
        self._decode, self._encode = app._codec()
        self._take_buffers = take_buffers
        self._sessions = Sessions(session_state)
        self._epochs: dict[str, int] = {}
        self._calls = Calls()
        self._headers = headers
        self._call_sessions: dict[int, Session] = {}
        self._calls.session_of = self._call_sessions.get
        self._id = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lifespan = None if app._lifespan is None else Lifespan(app)
        # What is left to do at the start and at the end: at the end the last one is next.
        self._starts: list[Callable[[], Any]] = [*app._on_start]
        self._stops: list[Callable[[], Any]] = [*app._on_stop, self._close_dependencies]
        if self._lifespan is not None:
            is_async, lifespan = self._lifespan.is_async, self._lifespan
            self._starts.insert(0, lifespan.enter_async if is_async else lifespan.enter)
            self._stops.insert(0, lifespan.leave_async if is_async else lifespan.leave)
        # In a running loop, the hooks wait for the block: async ones can only be awaited.
        if not _is_in_loop():
            self._start()

    def call(self, command: str, /, *, session: str | None = None, **arguments: Any) -> Any:
        """Call `command` and return its result. Arguments and result are converted to JSON. Raises `CallError`."""
        self._start()
        try:
            run = self._bind(command, session, arguments)
            self._begin(session)
            return self._to_json(self._context().run(lambda: self._run(run)))
        except BaseException as error:
            raise _call_error(error) from (None if isinstance(error, CallRejection) else error)

    def call_batch(self, command: str, items: list[dict[str, Any]], /) -> list[Any]:
        """Call a command with `@app.batch` once for these arguments, as one batch. Return the result of each call.

        The result of a call that failed is its `CallError`. Raises `CallError` if the whole batch failed.
        """
        self._start()
        try:
            found, calls, given = self._bind_batch(command, items)
            outcomes = self._context().run(lambda: self._run(found.run, calls, given))
        except BaseException as error:
            raise _call_error(error) from (None if isinstance(error, CallRejection) else error)
        return [self._result_of(outcome) for outcome in outcomes]

    def _bind_batch(self, name: str, items: list[dict[str, Any]]) -> tuple[Any, list[Call], list[Any]]:
        found: Any = self._commands.get(name)
        if found is None:
            raise error_frames.unknown_command(name, self._commands)
        if found.batch is None:
            raise ValueError(f"the command {name!r} does not run in batches; use `call`, or register it by @app.batch")
        if not items:
            raise ValueError("the list of items is empty; call_batch needs at least one item")
        given = self._decode(encode(items))
        for each in given:
            found.check(each)
        self._id += len(items)
        return found, [Call(self._id - each, 0, self._calls) for each in reversed(range(len(items)))], given

    def _result_of(self, outcome: Any) -> Any:
        try:
            return self._to_json(outcome.unwrap())
        except BaseException as error:
            return _call_error(error)

    def stream(self, command: str, /, *, session: str | None = None, **arguments: Any) -> Generator[Any, None, None]:
        """Call `command` and yield the items of its generator, converted to JSON. Raises `CallError`.

        The handler runs up to its next `yield` when the next item is asked for. `close()` closes its generator, as a
        pool does for a caller that drops the stream. A handler that is not a generator yields its result.
        """
        self._start()
        try:
            run = self._bind(command, session, arguments, is_stream=True)
            self._begin(session)
            context = self._context()
            with closing(self._steps(context.run(self._run, run), context)) as steps:
                for index, item in enumerate(steps):
                    yield self._item_to_json(index, item)
        except GeneratorExit:
            raise
        except BaseException as error:
            raise _call_error(error) from (None if isinstance(error, CallRejection) else error)

    def _steps(self, opened: Any, context: Context) -> Generator[Any, None, None]:
        """Return the items of a generator of any kind, or another result of a handler as the only item."""
        from herder.streams import is_async_generator, is_generator
        from herder.testing_streams import step_through, step_through_loop

        if is_generator(opened):
            return step_through(opened, context)
        if is_async_generator(opened):
            return step_through_loop(opened, context, self._run)
        return (each for each in (opened,))

    def _item_to_json(self, index: int, item: Any) -> Any:
        from herder.streams import refused_item

        try:
            return self._to_json(item)
        except CallRejection as refused:
            raise refused_item(index, refused) from None

    def _begin(self, session: str | None) -> None:
        """Run the `on_session_start` hooks before the first call of a session."""
        if session is not None and self._must_begin(session):
            with self._beginning(session) as (hooks, begun):
                for hook in hooks:
                    self._context().run(self._run, hook, begun)

    def _bind(
        self, name: str, session: str | None, arguments: dict[str, Any], *, is_stream: bool = False
    ) -> Callable[[], Any]:
        """Check the arguments. Return a function that calls the handler, to be run in a context of its own."""
        self._id += 1
        if self._overrides != self._app.dependency_overrides:
            self._commands, self._overrides = self._app._commands(), dict(self._app.dependency_overrides)
            self._app._check_scopes(self._sessions.unavailable)
        command = self._commands.get(name)
        if command is None:
            raise error_frames.unknown_command(name, self._commands)
        from herder.buffers import split_arguments

        plain, buffers = split_arguments(arguments, command)
        try:
            given = self._decode(encode(plain))
        except CallRejection as refusal:
            raise CallRejection("malformed", f"the arguments cannot be encoded as JSON: {refusal.message}") from None
        given.update(buffers)
        command.check(given)
        call = Call(self._id, 0, self._calls)
        if self._headers is not None:
            self._calls.headers[call.id] = self._headers
        if session is not None:
            self._call_sessions[call.id] = self._session(session)
        command.inject(given, call, self._call_sessions.get(call.id))
        function = command.stream if is_stream and command.stream is not None else command.call

        def run() -> Any:
            task_call.set(call)
            return function(**given)

        return run

    def _close_dependencies(self) -> Any:
        """Clean up the dependencies that outlive a call. Return what must be awaited, if anything."""
        if self._calls.dependencies is None:
            return None
        from herder.dependency_values import stop_async

        return stop_async(self._calls)

    def _to_json(self, result: Any) -> Any:
        if not self._take_buffers:
            return self._decode(self._encode(result))
        from herder.buffers import ResultEncoder, placed

        return placed(*ResultEncoder(self._app._encoders, self._app._nan_as_null).encode(result))

    def end_session(self, session: str, reason: str = "ended") -> None:
        """End a session as a pool does: run the app's hooks and drop the state. Raises the exceptions of the hooks."""
        self._start()
        ended = self._session(session)
        try:
            for hook in self._end_hooks(ended):
                self._run(hook, ended, reason)
        finally:
            self._forget(session)

    def close(self) -> None:
        """Run the `on_stop` hooks, leave the lifespan and close the event loop. Raises the first exception."""
        error = None
        if self._starts:  # it was never started
            self._stops.clear()
        while self._stops:
            try:
                self._run(self._stops.pop())
            except Exception as failed:
                error = error or failed
        if self._loop is not None:
            self._loop.close()
            self._loop = None
        if error is not None:
            raise error

    def __enter__(self) -> Client:
        self._start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> AsyncClient:
        try:
            while self._starts:
                await _awaited(self._starts.pop(0))
        except BaseException:
            self._fail_start()
            await self._stop_async()
            raise
        return AsyncClient(self)

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self._stop_async()

    async def _stop_async(self) -> None:
        error = None
        while self._stops:
            try:
                await _awaited(self._stops.pop())
            except Exception as failed:
                error = error or failed
        self.close()
        if error is not None:
            raise error

    def _start(self) -> None:
        try:
            while self._starts:
                self._run(self._starts.pop(0))
        except BaseException:
            self._fail_start()
            self.close()
            raise

    def _fail_start(self) -> None:
        """Skip the rest of the start, and of the stop all but the exit of the lifespan, as a worker does."""
        self._starts.clear()
        del self._stops[0 if self._lifespan is None else 1 :]

    def _context(self) -> Context:
        """Return the context of a call: a copy of that of an async lifespan, else of that of the caller."""
        context = None if self._lifespan is None or not self._lifespan.is_async else self._lifespan.context
        return copy_context() if context is None else context.copy()

    def _session(self, id: str) -> Session:
        return Session(id, self._epochs.setdefault(id, 1), self._sessions)

    def _must_begin(self, session: str) -> bool:
        """Whether the `on_session_start` hooks must run before the next call of the session."""
        id = self._session(session)
        hooks = self._app._on_session_start if self._sessions.unavailable is None else ()
        return bool(hooks) and (id.id, id._epoch) not in self._sessions.started

    @contextmanager
    def _beginning(self, session: str) -> Generator[tuple[list[Callable[..., Any]], Session], None, None]:
        """Begin a session, or drop its state if a hook raises."""
        begun = self._session(session)
        try:
            yield self._app._on_session_start, begun
            self._sessions.started.add((begun.id, begun._epoch))
        except BaseException:
            self._sessions.drop(begun.id, begun._epoch)
            raise

    def _end_hooks(self, ended: Session) -> list[Callable[..., Any]]:
        """Return the `on_session_end` hooks: none for a session that was not begun, as in a worker."""
        return [] if self._must_begin(ended.id) else self._app._on_session_end

    def _forget(self, session: str) -> None:
        self._sessions.drop(session, self._epochs[session])
        self._epochs[session] += 1

    def _run(self, function: Callable[..., Any], /, *arguments: Any) -> Any:
        result = function(*arguments)
        if not hasattr(result, "__await__"):
            return result
        if _is_in_loop():
            getattr(result, "close", lambda: None)()
            raise RuntimeError(
                "an event loop is running: write `async with Client(app) as client` and `await client.call(...)`"
            )
        import asyncio

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return self._loop.run_until_complete(result)


class AsyncClient:
    """What `async with Client(app)` returns. Each call is a task of the running loop, so calls can overlap.

    Calls of one session do not wait for each other, as they do in a pool.
    """

    def __init__(self, client: Client) -> None:
        import asyncio

        self._client = client
        self._beginning = asyncio.Lock()

    async def call(self, command: str, /, *, session: str | None = None, **arguments: Any) -> Any:
        """Call `command` and return its result. Arguments and result are converted to JSON. Raises `CallError`.

        A cancelled call cancels its handler.
        """
        import asyncio

        try:
            run = self._client._bind(command, session, arguments)
            if session is not None and self._client._must_begin(session):
                await self._begin(session)
            # A task has a context of its own.
            task = self._client._context().run(asyncio.create_task, _awaited(run))
            return self._client._to_json(await task)
        except asyncio.CancelledError:
            raise  # the caller is cancelled, and the task with it
        except BaseException as error:
            raise _call_error(error) from (None if isinstance(error, CallRejection) else error)

    async def stream(
        self, command: str, /, *, session: str | None = None, **arguments: Any
    ) -> AsyncGenerator[Any, None]:
        """Do the same as `Client.stream`. `aclose()` closes the generator of the handler."""
        import asyncio

        from herder.streams import as_async, is_async_generator, is_generator
        from herder.testing_streams import step_through, step_through_task

        client = self._client
        try:
            run = client._bind(command, session, arguments, is_stream=True)
            if session is not None and client._must_begin(session):
                await self._begin(session)
            context, index = client._context(), 0
            opened = context.run(run)
            if hasattr(opened, "__await__"):  # of a handler that is no generator
                opened = await context.run(asyncio.ensure_future, opened)
            if is_async_generator(opened):
                steps = step_through_task(opened, context)
            else:
                steps = as_async(step_through(opened, context) if is_generator(opened) else opened)
            async with aclosing(steps):
                async for item in steps:
                    yield client._item_to_json(index, item)
                    index += 1
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:
            raise _call_error(error) from (None if isinstance(error, CallRejection) else error)

    async def _begin(self, session: str) -> None:
        import asyncio

        async with self._beginning:  # the calls of a session wait for its hooks
            if self._client._must_begin(session):
                with self._client._beginning(session) as (hooks, begun):
                    for hook in hooks:
                        await self._client._context().run(asyncio.create_task, _awaited(hook, begun))

    async def end_session(self, session: str, reason: str = "ended") -> None:
        """End a session as a pool does: run the app's hooks and drop the state. Raises the exceptions of the hooks."""
        ended = self._client._session(session)
        try:
            for hook in self._client._end_hooks(ended):
                await _awaited(hook, ended, reason)
        finally:
            self._client._forget(session)


async def _awaited(function: Callable[..., Any], /, *arguments: Any) -> Any:
    result = function(*arguments)
    return await result if hasattr(result, "__await__") else result


def _is_in_loop() -> bool:
    """Whether this thread runs an event loop. Does not import asyncio."""
    loops = sys.modules.get("asyncio.events")
    return loops is not None and loops._get_running_loop() is not None


def _call_error(error: BaseException) -> BaseException:
    if isinstance(error, (KeyboardInterrupt, SystemExit)) and error.__traceback__ is None:
        return error
    return CallError(error_frames.describe(error))
