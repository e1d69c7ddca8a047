"""The app of the benchmark of buffers."""

import os
from typing import Any

import herder
import numpy

app = herder.App()


@app.command
def echo(x: memoryview) -> Any:
    return x


@app.command
def total(x: numpy.ndarray) -> float:
    return float(x.sum())


@app.command
def pid() -> int:
    return os.getpid()
