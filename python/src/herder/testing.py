"""Calls handlers in tests without a pool. `Client` binds arguments and encodes results as a worker does.

def test_add():
    with herder.testing.Client(app) as client:
        assert client.call("add", item="tea", session="ann") == ["tea"]
"""

from __future__ import annotations

import sys
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from herder import error_frames
from herder.call import Call, Calls, task_call
from herder.codec import decode, encode
from herder.errors import CallRejection
from herder.session import Session, Sessions

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
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
    """An app in this process, with separate sessions. The constructor runs its `on_start` hooks.

    Set `session_state` to a message to test handlers as in a pool without session affinity: `session.state` then
    raises `SessionStateUnavailable` with it.

    `headers` are those of each call, with names in lower case.

    In a running event loop, write `async with Client(app) as client`, and await the methods of `client`, which is an
    `AsyncClient`. The hooks then run when the block is entered.
    """

    def __init__(self, app: App, *, session_state: str | None = None, headers: dict[str, str] | None = None) -> None:
        self._app = app
        self._commands = app._commands()
        self._overrides = dict(app.dependency_overrides)
        self._encode = app._encode()
        self._sessions = Sessions(session_state)
        self._epochs: dict[str, int] = {}
        self._calls = Calls()
        self._headers = headers
        self._call_sessions: dict[int, Session] = {}
        self._calls.session_of = self._call_sessions.get
        self._id = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        # In a running loop, the hooks wait for the block: async ones can only be awaited.
        self._hooks = list(app._on_start)
        if not _is_in_loop():
            self._run_start_hooks()

    def call(self, command: str, /, *, session: str | None = None, **arguments: Any) -> Any:
        """Call `command` and return its result. Arguments and result are converted to JSON. Raises `CallError`."""
        self._run_start_hooks()
        try:
            run = self._bind(command, session, arguments)
            return self._to_json(copy_context().run(lambda: self._run(run)))
        except BaseException as error:
            raise _call_error(error) from (None if isinstance(error, CallRejection) else error)

    def _bind(self, name: str, session: str | None, arguments: dict[str, Any]) -> Callable[[], Any]:
        """Check the arguments. Return a function that calls the handler, to be run in a context of its own."""
        self._id += 1
        if self._overrides != self._app.dependency_overrides:
            self._commands, self._overrides = self._app._commands(), dict(self._app.dependency_overrides)
        command = self._commands.get(name)
        if command is None:
            raise error_frames.unknown_command(name, self._commands)
        try:
            given = decode(encode(arguments))
        except CallRejection as refusal:
            raise CallRejection("malformed", f"the arguments cannot be encoded as JSON: {refusal.message}") from None
        command.check(given)
        command.check_session(session is not None)
        call = Call(self._id, 0, self._calls)
        if self._headers is not None:
            self._calls.headers[call.id] = self._headers
        if session is not None:
            self._call_sessions[call.id] = self._session(session)
        if command.session_parameter is not None and session is not None:
            given[command.session_parameter] = self._call_sessions[call.id]
        if command.call_parameter is not None:
            given[command.call_parameter] = call

        def run() -> Any:
            task_call.set(call)
            return command.call(**given)

        return run

    def _to_json(self, result: Any) -> Any:
        return decode(self._encode(result))

    def end_session(self, session: str, reason: str = "ended") -> None:
        """End a session as a pool does: run the app's hooks and drop the state. Raises the exceptions of the hooks."""
        self._run_start_hooks()
        ended = self._session(session)
        try:
            for hook in self._app._on_session_end:
                self._run(hook, ended, reason)
        finally:
            self._forget(session)

    def close(self) -> None:
        """Close the event loop of the async handlers."""
        if self._loop is not None:
            self._loop.close()
            self._loop = None

    def __enter__(self) -> Client:
        self._run_start_hooks()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> AsyncClient:
        while self._hooks:
            await _awaited(self._hooks.pop(0))
        return AsyncClient(self)

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()

    def _run_start_hooks(self) -> None:
        while self._hooks:
            self._run(self._hooks.pop(0))

    def _session(self, id: str) -> Session:
        return Session(id, self._epochs.setdefault(id, 1), self._sessions)

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
        self._client = client

    async def call(self, command: str, /, *, session: str | None = None, **arguments: Any) -> Any:
        """Call `command` and return its result. Arguments and result are converted to JSON. Raises `CallError`.

        A cancelled call cancels its handler.
        """
        import asyncio

        try:
            run = self._client._bind(command, session, arguments)
            task = asyncio.create_task(_awaited(run))  # a task has a context of its own
            return self._client._to_json(await task)
        except asyncio.CancelledError:
            raise  # the caller is cancelled, and the task with it
        except BaseException as error:
            raise _call_error(error) from (None if isinstance(error, CallRejection) else error)

    async def end_session(self, session: str, reason: str = "ended") -> None:
        """End a session as a pool does: run the app's hooks and drop the state. Raises the exceptions of the hooks."""
        ended = self._client._session(session)
        try:
            for hook in self._client._app._on_session_end:
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
