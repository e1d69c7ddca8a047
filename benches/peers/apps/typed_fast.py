"""The order as a FastAPI route with a pydantic model, as its tutorial writes one."""

from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Order(BaseModel):
    id: int
    sku: str
    price: float
    gift: bool
    note: str | None = None


@app.post("/place")
async def place(order: Order) -> Order:
    return order
