"""The built-in demo worker, `herder.demo:app`: something to call before there is an application."""

from __future__ import annotations

import os
import time

import herder

app = herder.App()


@app.command(idempotent=True)
def echo(**arguments: object) -> dict[str, object]:
    """Its arguments, as they are."""
    return arguments


@app.command
def sleep(ms: float) -> None:
    """Wait."""
    time.sleep(ms / 1000)


@app.command
def burn(ms: float) -> int:
    """Compute for `ms` milliseconds of CPU time; how many rounds that were."""
    rounds, end = 0, time.thread_time() + ms / 1000
    while time.thread_time() < end:
        rounds += 1
    return rounds


@app.command
def count(session: herder.Session) -> int:
    """How often this session called it."""
    number: int = session.state.get("count", 0) + 1
    session.state["count"] = number
    return number


@app.command
def fail() -> None:
    """Raise, as a bug does."""
    raise RuntimeError("this command always fails")


@app.command
def reject() -> None:
    """Say no, on purpose."""
    raise herder.Rejected("this command always rejects its call", code="demo")


@app.command
def exit(code: int = 1) -> None:
    """End the process, as a crash does."""
    os._exit(code)


@app.command(idempotent=True)
def pid() -> int:
    """The worker's process id."""
    return os.getpid()


if os.environ.get("HERDER_ALLOW_CODE") == "1":
    from herder import notebook

    notebook.register(app)
