"""Runs the health function of an asyncio worker: a sync one in an iteration of the loop, an async one as a task."""

from __future__ import annotations

import asyncio

from herder import contexts, health
from herder.aio_hooks import await_with_limit, run_outside_loop
from herder.signatures import is_async

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from herder.aio import Server


class HealthChecks:
    """The check that runs. The host asks again only after the answer."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.worker = server.worker
        self.task: asyncio.Task[None] | None = None

    def begin(self, nonce: int, limit: float) -> None:
        """Begin a check."""
        function = self.worker.app._health
        assert function is not None
        context = contexts.copy_for_call(self.server.base_context)
        try:
            if is_async(function):
                result = function()
            else:
                timer = health.timer(self.worker, limit)
                result = run_outside_loop(self.server.loop, timer, context, function)
            if asyncio.iscoroutine(result):
                self.task = context.run(self.server.loop.create_task, self.await_check(nonce, limit, result))
            else:
                self.answer(nonce, health.reason_of(result))
        except BaseException as error:
            self.answer(nonce, health.reason_of_error(error, limit))

    async def await_check(self, nonce: int, limit: float, check: Any) -> None:
        """Await an async function, and answer."""
        try:
            timer = health.timer(self.worker, limit)
            reason = health.reason_of(await await_with_limit(self.server.loop, timer, check))
        except GeneratorExit:
            raise
        except BaseException as error:
            reason = health.reason_of_error(error, limit)
        self.answer(nonce, reason)

    def answer(self, nonce: int, reason: str) -> None:
        """Add the answer to the output; the next iteration writes it."""
        self.worker.output.parts += (health.answer(nonce, reason),)
        self.server.loop.wake_up()
