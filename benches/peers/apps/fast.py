"""The echo as a FastAPI route, as its tutorial writes one."""

from fastapi import FastAPI

app = FastAPI()


@app.post("/echo")
async def echo(arguments: dict) -> dict:
    return arguments
