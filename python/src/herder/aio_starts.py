"""Runs `on_session_start` hooks of an asyncio worker, as the first part of the first call of a session.

Imported only for an app with such hooks. The call leaves the waiting calls while the hooks run, and then returns to the
front. Sync hooks run outside of a task, as sync handlers do.
"""

from __future__ import annotations

import asyncio
from functools import partial

from herder.aio_calls import run_steps
from herder.session import Session
from herder.signatures import is_async

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from typing import Any

    from herder.aio_calls import Pending, Runner


class SessionStarts:
    """The sessions whose hooks run now."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.worker = runner.worker
        self.running: dict[str, Pending] = {}  # the first call of each session whose hooks run, by session

    def holds(self, pending: Pending) -> bool:
        """Whether a waiting call must not begin yet: the hooks of its session run for another call."""
        first = None if pending.session is None else self.running.get(pending.session)
        if first is None or pending.session is None:
            return False
        if self.runner.unanswered.get(first.wire_id) is first:
            return True
        del self.running[pending.session]  # left behind by an exception
        return False

    def are_needed(self, pending: Pending) -> bool:
        """Whether the hooks must run before the handler of this call."""
        return pending.session is not None and (pending.session, pending.epoch) not in self.worker.sessions.started

    def begin(self, pending: Pending, index: int) -> None:
        """Begin a waiting call with the hooks of its session."""
        try:
            self.runner.leave_queue(pending, index)
            assert pending.session is not None
            pending.start_hooks = iter(self.worker.app._on_session_start)
            self.running[pending.session] = pending
            self.runner.begin_handler(pending)
            self.run_hooks(pending, pending.start_hooks)
        except BaseException as error:
            self.fail(pending, error)

    def run_hooks(self, pending: Pending, hooks: Iterator[Any]) -> None:
        """Run the remaining hooks up to the first async one, whose task continues with those after it."""
        assert pending.session is not None
        session = Session(pending.session, pending.epoch, self.worker.sessions)
        for hook in hooks:
            result = hook(session) if is_async(hook) else self.runner.run_outside_loop(pending, hook, session)
            self.runner.end_fork()
            if asyncio.iscoroutine(result):
                task = self.runner.new_context(pending).run(
                    self.runner.loop.create_task, self.run_hook(pending, result)
                )
                pending.task = task
                task.add_done_callback(partial(self.on_done, pending, hooks))
                return
        self.worker.sessions.started.add((pending.session, pending.epoch))
        pending.task = pending.start_hooks = None
        self.running.pop(pending.session, None)
        self.runner.waiting.appendleft(pending)

    async def run_hook(self, pending: Pending, hook: Coroutine[Any, Any, Any]) -> None:
        """Await an async hook. An interrupt or a cancel of the call is one of the hook."""
        await run_steps(hook, pending.wire_id, self.runner.calls)
        self.runner.end_fork()

    def on_done(self, pending: Pending, hooks: Iterator[Any], task: asyncio.Task[None]) -> None:
        """Continue after an async hook."""
        try:
            if self.runner.unanswered.get(pending.wire_id) is pending:
                task.result()
                self.run_hooks(pending, hooks)
        except BaseException as error:
            self.fail(pending, error)

    def fail(self, pending: Pending, error: BaseException) -> None:
        """Answer the call with the exception of a hook. The session has not begun."""
        if pending.session is not None:
            self.worker.sessions.drop(pending.session, pending.epoch)
            if self.running.get(pending.session) is pending:
                del self.running[pending.session]
        self.runner.fail(pending, error)
