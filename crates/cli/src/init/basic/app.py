"""The commands of the pool `NAME`."""

import herder

app = herder.App()


@app.command(idempotent=True)
def greet(name: str, times: int = 1) -> list[str]:
    """Greets someone."""
    if times < 1:
        raise herder.Rejected(f"cannot greet {times} times", code="too-few")
    return [f"Hello, {name}!"] * times
