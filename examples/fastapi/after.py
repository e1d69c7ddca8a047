"""The shop as a Herder app: ten commands with models, a database connection, a background task and a numpy result."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from typing import Annotated
from uuid import UUID, uuid4

import numpy
from pydantic import BaseModel, Field

from herder import App, Depends, Rejected

app = App()

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
        raise Rejected(f"no order {order_id}", status=404)
    return Order.model_validate_json(row[0])


def save(conn: sqlite3.Connection, order: Order) -> Order:
    row = (str(order.id), order.status.value, str(order.placed), order.model_dump_json())
    conn.execute("insert or replace into orders values (?, ?, ?, ?)", row)
    return order


def mail(path: str, order_id: UUID) -> None:
    with open(path, "a") as outbox:
        outbox.write(f"shipped {order_id}\n")


@app.command
def place(order: NewOrder, conn: Conn) -> Order:
    total = sum((line.price * line.quantity for line in order.lines), Decimal(0))
    fields = order.model_dump() | {"placed": order.placed or datetime.now(timezone.utc)}
    return save(conn, Order(**fields, id=uuid4(), status=Status.NEW, total=total))


@app.command
def read(order_id: UUID, conn: Conn) -> Order:
    return load(conn, order_id)


@app.command
def search(
    conn: Conn,
    status: Status | None = None,
    since: datetime | None = None,
    limit: Annotated[int, Field(ge=1, le=100)] = 10,
) -> list[Order]:
    rows = conn.execute("select json from orders order by placed limit ?", (limit,)).fetchall()
    orders = [Order.model_validate_json(row[0]) for row in rows]
    return [o for o in orders if status in (None, o.status) and (since is None or (o.placed and o.placed >= since))]


@app.command
def pay(order_id: UUID, amount: Decimal, conn: Conn) -> Order:
    order = load(conn, order_id)
    if amount != order.total:
        raise Rejected(f"the order costs {order.total}", status=409)
    return save(conn, order.model_copy(update={"status": Status.PAID}))


@app.command
def ship(order_id: UUID, conn: Conn) -> Order:
    order = load(conn, order_id)
    if order.status is not Status.PAID:
        raise Rejected("the order is not paid", status=409)
    threading.Thread(target=mail, args=(os.environ["SHOP_OUTBOX"], order_id)).start()
    return save(conn, order.model_copy(update={"status": Status.SHIPPED}))


@app.command
def cancel(order_id: UUID, conn: Conn) -> None:
    load(conn, order_id)
    conn.execute("delete from orders where id = ?", (str(order_id),))


@app.command
def totals(conn: Conn) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = {}
    for row in conn.execute("select json from orders"):
        order = Order.model_validate_json(row[0])
        sums[order.status.value] = sums.get(order.status.value, Decimal(0)) + order.total
    return sums


@app.command
def statuses() -> list[Status]:
    return list(Status)


@app.command
def discount(prices: list[Decimal], percent: Annotated[int, Field(ge=0, le=100)] = 10) -> list[Decimal]:
    return [(price * (100 - percent) / 100).quantize(Decimal("0.01")) for price in prices]


@app.command
def forecast(
    sales: Annotated[list[float], Field(min_length=2)], days: Annotated[int, Field(ge=1, le=30)] = 3
) -> list[float]:
    slope, start = numpy.polyfit(numpy.arange(len(sales)), numpy.array(sales), 1)
    return numpy.round(start + slope * numpy.arange(len(sales), len(sales) + days), 6).tolist()
