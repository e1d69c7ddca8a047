"""Orders in a database, with a lifespan. Try it: `herder serve examples/workers/orders.py:app`"""
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager

import herder


@contextmanager  # or `asynccontextmanager` with `async def`, as in FastAPI
def lifespan(app: herder.App) -> Generator[dict[str, object], None, None]:
    with closing(sqlite3.connect(":memory:")) as db:  # opened once in each worker, before it is ready
        db.execute("CREATE TABLE orders (item TEXT)")
        yield {"db": db}  # `app.state.db`
    print("the database is closed")  # when the worker stops, after its last call and the `on_stop` hooks

app = herder.App(lifespan=lifespan)

@app.on_stop
def summary() -> None:  # has `stop.grace` to end (5 s), together with the exit of the lifespan
    print(count(), "orders were taken")

@app.command
def order(item: str) -> int:
    app.state.db.execute("INSERT INTO orders VALUES (?)", (item,))
    return count()

@app.command(idempotent=True)
def count() -> int:
    return int(app.state.db.execute("SELECT count(*) FROM orders").fetchone()[0])
