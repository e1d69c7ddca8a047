"""`herder.testing.Client`, and with it the binding of arguments in this process."""

import asyncio
import functools

import pytest

import herder
from herder.testing import CallError, Client

app = herder.App()


@app.on_start
def load():
    app.state.prices = {"tea": 450}


@app.command
def add(item: str, session: herder.Session) -> list:
    if item not in app.state.prices:
        raise herder.Rejected(f"no such item: {item}", code="unknown_item")
    session.state.setdefault("items", []).append(item)
    return session.state["items"]


@app.command
async def restock(item: str, seconds: float = 0.0) -> str:
    await asyncio.sleep(seconds)  # noqa: TID251 (what the app does, not the test)
    return f"{item} is back"


@app.command
async def letters(n: int):
    for i in range(n):
        yield "abc"[i]


@app.command
def current(call: herder.Call):
    return [call.id, herder.current_call().id, call.cancelled]


@app.command
def price(item: str) -> int:
    return app.state.prices[item]


@app.on_session_end
def forget(session: herder.Session, reason: str):
    app.state.forgotten = (session.id, reason, session.state.get("items"))


app.command(name="partial")(functools.partial(price, item="tea"))


class Shop:
    def open(self, hour: int = 8) -> int:
        return hour

    def __call__(self, door: str) -> str:
        return door


app.command(Shop().open)
app.command(name="shop")(Shop())


@pytest.fixture
def client():
    with Client(app) as client:
        yield client


def test_calls(client):
    assert client.call("add", item="tea", session="ann") == ["tea"]
    assert client.call("add", item="tea", session="ann") == ["tea", "tea"]
    assert client.call("add", item="tea", session="bob") == ["tea"]
    assert client.call("restock", item="tea") == "tea is back"
    assert client.call("letters", n=2) == ["a", "b"]
    assert client.call("current") == [7 - 1, 7 - 1, False]
    assert client.call("partial") == 450
    assert client.call("open", hour=9) == 9
    assert client.call("shop", door="front") == "front"


def test_sessions_end(client):
    client.call("add", item="tea", session="ann")
    client.end_session("ann", "expired")
    assert app.state.forgotten == ("ann", "expired", ["tea"])
    assert client.call("add", item="tea", session="ann") == ["tea"]


@pytest.mark.parametrize(
    "command,arguments,kind,text",
    [
        ("nope", {}, "unknown_command", "price"),
        ("price", {"item": 1}, "bad_arguments", "string"),
        ("open", {"self": 1}, "bad_arguments", "'self'"),
        ("price", {"item": {1}}, "malformed", "arguments"),
        ("price", {"item": "x"}, "exception", "'x'"),
        ("add", {"item": "tea"}, "bad_arguments", "Herder-Session"),
    ],
)
def test_errors(client, command, arguments, kind, text):
    with pytest.raises(CallError) as raised:
        client.call(command, **arguments)
    assert raised.value.kind == kind and text in raised.value.message


def test_what_the_handler_raised_is_the_cause(client):
    with pytest.raises(CallError) as raised:
        client.call("add", item="nut", session="ann")
    assert raised.value.code == "unknown_item" and isinstance(raised.value.__cause__, herder.Rejected)


def test_a_pool_without_session_state():
    with Client(app, session_state="set worker_type") as client, pytest.raises(CallError, match="set worker_type"):
        client.call("add", item="tea", session="ann")


def test_no_call_is_running_here():
    with pytest.raises(RuntimeError, match="no call"):
        herder.current_call()


def test_a_decorated_function_is_still_the_function():
    assert price.__name__ == "price"
    with pytest.raises(ValueError, match="already"):
        app.command(price)
