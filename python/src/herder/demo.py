"""The built-in demo app, `herder.demo:app`, for trying Herder without an application."""

from __future__ import annotations

import os
import time

import herder

app = herder.App()


@app.command(idempotent=True)
def echo(**arguments: object) -> dict[str, object]:
    """Return the arguments."""
    return arguments


@app.command
def sleep(ms: float) -> None:
    """Wait for `ms` milliseconds."""
    time.sleep(ms / 1000)


@app.command
def burn(ms: float) -> int:
    """Compute for `ms` milliseconds of CPU time. Return the number of rounds."""
    rounds, end = 0, time.thread_time() + ms / 1000
    while time.thread_time() < end:
        rounds += 1
    return rounds


@app.command
def count(session: herder.Session) -> int:
    """Return how many times this session has called it."""
    number: int = session.state.get("count", 0) + 1
    session.state["count"] = number
    return number


@app.command
def fail() -> None:
    """Raise an exception, like a bug."""
    raise RuntimeError("this command always fails")


@app.command
def reject() -> None:
    """Reject the call."""
    raise herder.Rejected("this command always rejects its call", code="demo")


@app.command
def exit(code: int = 1) -> None:
    """End the process, like a crash."""
    os._exit(code)


@app.command(idempotent=True)
def pid() -> int:
    """Return the process id of the worker."""
    return os.getpid()


if os.environ.get("HERDER_ALLOW_CODE") == "1":
    from herder import notebook

    notebook.register(app)
