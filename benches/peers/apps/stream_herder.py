"""Streams of small objects, for `streams.py`."""

import asyncio

import herder

app = herder.App()


@app.command
async def items(n: int):
    """Yield items without awaiting anything."""
    for number in range(n):
        yield {"n": number}


@app.command
async def awaited(n: int):
    """Let the event loop run before each item."""
    for number in range(n):
        await asyncio.sleep(0)
        yield {"n": number}


@app.command
def blocking(n: int):
    """Yield items from a sync generator."""
    for number in range(n):
        yield {"n": number}


@app.command
async def plain(n: int) -> dict[str, int]:
    """Return one object."""
    return {"n": n}
