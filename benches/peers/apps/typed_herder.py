"""The order of `typed_fast.py` as a dataclass: arguments are converted and checked, and the result is encoded."""

from dataclasses import dataclass

import herder

app = herder.App()


@dataclass
class Order:
    id: int
    sku: str
    price: float
    gift: bool
    note: str | None = None


@app.command
def place(order: Order) -> Order:
    return order
