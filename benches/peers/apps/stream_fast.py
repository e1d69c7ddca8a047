"""The streams of `stream_herder.py` by FastAPI's `StreamingResponse`, as its documentation writes them."""

import asyncio
import json

from fastapi import Body, FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI()
LINES = "application/x-ndjson"


@app.post("/items")
async def items(n: int = Body(embed=True)) -> StreamingResponse:
    async def lines():
        for number in range(n):
            yield json.dumps({"n": number}) + "\n"

    return StreamingResponse(lines(), media_type=LINES)


@app.post("/awaited")
async def awaited(n: int = Body(embed=True)) -> StreamingResponse:
    async def lines():
        for number in range(n):
            await asyncio.sleep(0)
            yield json.dumps({"n": number}) + "\n"

    return StreamingResponse(lines(), media_type=LINES)


@app.post("/blocking")
async def blocking(n: int = Body(embed=True)) -> StreamingResponse:
    def lines():
        for number in range(n):
            yield json.dumps({"n": number}) + "\n"

    return StreamingResponse(lines(), media_type=LINES)


@app.post("/plain")
async def plain(n: int = Body(embed=True)) -> dict[str, int]:
    return {"n": n}
