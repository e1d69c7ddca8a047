"""Handlers that end their own process when the test asks for it."""

import os
import signal
import time

import herder

app = herder.App()


@app.command
def pid() -> int:
    return os.getpid()


@app.command(idempotent=True)
def fragile(path: str, deaths: int) -> int:
    """End the process in the first `deaths` runs. Then return the number of runs."""
    with open(path, "a") as runs:
        runs.write("x")
    ran = os.path.getsize(path)
    if ran <= deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return ran


@app.command(idempotent=True)
def poison(path: str, code: int = 3) -> None:
    with open(path, "a") as runs:
        runs.write("x")
    os._exit(code)


@app.command
def wrong() -> None:
    raise ValueError("no")


@app.command
def wait_for(path: str) -> str:
    """Return when the file exists."""
    while not os.path.exists(path):
        time.sleep(0.005)
    return path


@app.command
def hang() -> None:
    """Ignore every interrupt and never return."""
    while True:
        try:
            time.sleep(3600)
        except BaseException:
            pass


@app.command
def slow(ms: int) -> int:
    time.sleep(ms / 1000)
    return ms
