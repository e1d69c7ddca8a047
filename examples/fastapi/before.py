"""A shop as a FastAPI service: ten routes with models, a database connection, a background task and a numpy result."""

import os
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from typing import Annotated
from uuid import UUID, uuid4

import numpy
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException
from pydantic import BaseModel, Field

app = FastAPI()

SCHEMA = "create table if not exists orders (id text primary key, status text, placed text, json text)"


class Status(Enum):
    NEW = "new"
    PAID = "paid"
    SHIPPED = "shipped"


class Address(BaseModel):
    street: str
    city: str
    country: Annotated[str, Field(min_length=2, max_length=2)] = "DE"


class Line(BaseModel):
    sku: str
    quantity: Annotated[int, Field(ge=1, le=99)]
    price: Decimal


class NewOrder(BaseModel):
    customer: str
    address: Address
    lines: Annotated[list[Line], Field(min_length=1)]
    placed: datetime | None = None
    note: str | None = None


class Order(NewOrder):
    id: UUID
    status: Status
    total: Decimal


def get_conn() -> Iterator[sqlite3.Connection]:
    conn = sqlite3.connect(os.environ["SHOP_DB"], check_same_thread=False)
    try:
        conn.execute(SCHEMA)
        yield conn
        conn.commit()
    finally:
        conn.close()


Conn = Annotated[sqlite3.Connection, Depends(get_conn)]


def load(conn: sqlite3.Connection, order_id: UUID) -> Order:
    row = conn.execute("select json from orders where id = ?", (str(order_id),)).fetchone()
    if row is None:
        raise HTTPException(404, f"no order {order_id}")
    return Order.model_validate_json(row[0])


def save(conn: sqlite3.Connection, order: Order) -> Order:
    row = (str(order.id), order.status.value, str(order.placed), order.model_dump_json())
    conn.execute("insert or replace into orders values (?, ?, ?, ?)", row)
    return order


def mail(path: str, order_id: UUID) -> None:
    with open(path, "a") as outbox:
        outbox.write(f"shipped {order_id}\n")


@app.post("/orders")
def place(order: NewOrder, conn: Conn) -> Order:
    total = sum((line.price * line.quantity for line in order.lines), Decimal(0))
    fields = order.model_dump() | {"placed": order.placed or datetime.now(timezone.utc)}
    return save(conn, Order(**fields, id=uuid4(), status=Status.NEW, total=total))


@app.get("/orders/{order_id}")
def read(order_id: UUID, conn: Conn) -> Order:
    return load(conn, order_id)


@app.get("/orders")
def search(
    conn: Conn,
    status: Status | None = None,
    since: datetime | None = None,
    limit: Annotated[int, Field(ge=1, le=100)] = 10,
) -> list[Order]:
    rows = conn.execute("select json from orders order by placed limit ?", (limit,)).fetchall()
    orders = [Order.model_validate_json(row[0]) for row in rows]
    return [o for o in orders if status in (None, o.status) and (since is None or (o.placed and o.placed >= since))]


@app.post("/orders/{order_id}/pay")
def pay(order_id: UUID, amount: Decimal, conn: Conn) -> Order:
    order = load(conn, order_id)
    if amount != order.total:
        raise HTTPException(409, f"the order costs {order.total}")
    return save(conn, order.model_copy(update={"status": Status.PAID}))


@app.post("/orders/{order_id}/ship")
def ship(order_id: UUID, conn: Conn, background: BackgroundTasks) -> Order:
    order = load(conn, order_id)
    if order.status is not Status.PAID:
        raise HTTPException(409, "the order is not paid")
    background.add_task(mail, os.environ["SHOP_OUTBOX"], order_id)
    return save(conn, order.model_copy(update={"status": Status.SHIPPED}))


@app.delete("/orders/{order_id}")
def cancel(order_id: UUID, conn: Conn) -> None:
    load(conn, order_id)
    conn.execute("delete from orders where id = ?", (str(order_id),))


@app.get("/totals")
def totals(conn: Conn) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = {}
    for row in conn.execute("select json from orders"):
        order = Order.model_validate_json(row[0])
        sums[order.status.value] = sums.get(order.status.value, Decimal(0)) + order.total
    return sums


@app.get("/statuses")
def statuses() -> list[Status]:
    return list(Status)


@app.post("/discount")
def discount(prices: list[Decimal], percent: Annotated[int, Field(ge=0, le=100)] = 10) -> list[Decimal]:
    return [(price * (100 - percent) / 100).quantize(Decimal("0.01")) for price in prices]


@app.post("/forecast")
def forecast(
    sales: Annotated[list[float], Field(min_length=2)], days: Annotated[int, Field(ge=1, le=30)] = 3
) -> list[float]:
    slope, start = numpy.polyfit(numpy.arange(len(sales)), numpy.array(sales), 1)
    return numpy.round(start + slope * numpy.arange(len(sales), len(sales) + days), 6).tolist()
