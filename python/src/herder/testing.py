"""Calls handlers in tests without a pool. `Client` binds arguments and encodes results as a worker does.

def test_add():
    with herder.testing.Client(app) as client:
        assert client.call("add", item="tea", session="ann") == ["tea"]
"""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from herder import error_frames
from herder.call import Call, Calls, task_call
from herder.codec import decode, encode
from herder.errors import CallRejection
from herder.session import Session, Sessions

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType

    from herder.app import App
    from herder.binding import Command


class CallError(Exception):
    """Raised for a failed call. docs/protocol.md lists the kinds; `__cause__` is the handler's exception, if any."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.kind: str = fields["kind"]
        self.message: str = fields["message"]
        self.type: str | None = fields.get("type")
        self.code: str | None = fields.get("code")
        self.traceback: str | None = fields.get("traceback")
        self.errors: list[dict[str, Any]] = fields.get("errors", [])  # for `bad_arguments`
        super().__init__(f"{self.kind}: {self.message}")


class Client:
    """An app in this process, with separate sessions. The constructor runs its `on_start` hooks.

    Set `session_state` to a message to test handlers as in a pool without session affinity: `session.state` then
    raises `SessionStateUnavailable` with it.
    """

    def __init__(self, app: App, *, session_state: str | None = None) -> None:
        self._app = app
        self._commands = app._commands()
        self._encode = app._encode()
        self._sessions = Sessions(session_state)
        self._epochs: dict[str, int] = {}
        self._calls = Calls()
        self._id = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        for hook in app._on_start:
            self._run(hook)

    def call(self, command: str, /, *, session: str | None = None, **arguments: Any) -> Any:
        """Call `command` and return its result. Arguments and result are converted to JSON. Raises `CallError`."""
        self._id += 1
        try:
            return self._call(command, session, arguments)
        except BaseException as error:
            if isinstance(error, (KeyboardInterrupt, SystemExit)) and error.__traceback__ is None:
                raise
            raise CallError(error_frames.describe(error)) from (None if isinstance(error, CallRejection) else error)

    def _call(self, name: str, session: str | None, arguments: dict[str, Any]) -> Any:
        command = self._commands.get(name)
        if command is None:
            raise error_frames.unknown_command(name, self._commands)
        try:
            given = decode(encode(arguments))
        except CallRejection as refusal:
            raise CallRejection("malformed", f"the arguments cannot be encoded as JSON: {refusal.message}") from None
        command.check(given)
        command.check_session(session is not None)
        return decode(self._encode(self._handle(command, session, given)))

    def _handle(self, command: Command, session: str | None, arguments: dict[str, Any]) -> Any:
        call = Call(self._id, 0, self._calls)
        if command.session_parameter is not None and session is not None:
            arguments[command.session_parameter] = self._session(session)
        if command.call_parameter is not None:
            arguments[command.call_parameter] = call

        def run() -> Any:
            task_call.set(call)
            return self._run(command.call, **arguments)

        return copy_context().run(run)

    def end_session(self, session: str, reason: str = "ended") -> None:
        """End a session as a pool does: run the app's hooks and drop the state. Raises the exceptions of the hooks."""
        ended = self._session(session)
        try:
            for hook in self._app._on_session_end:
                self._run(hook, ended, reason)
        finally:
            self._sessions.drop(session, self._epochs[session])
            self._epochs[session] += 1

    def close(self) -> None:
        """Close the event loop of the async handlers."""
        if self._loop is not None:
            self._loop.close()
            self._loop = None

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()

    def _session(self, id: str) -> Session:
        return Session(id, self._epochs.setdefault(id, 1), self._sessions)

    def _run(self, function: Any, /, *arguments: Any, **named: Any) -> Any:
        result = function(*arguments, **named)
        if not hasattr(result, "__await__"):
            return result
        import asyncio

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return self._loop.run_until_complete(result)
