"""`herder.testing.Client` and the binding of arguments."""

import asyncio
import contextlib
import contextvars
import functools
import inspect
import itertools
from typing import Annotated

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
    await asyncio.sleep(seconds)  # noqa: TID251 (in the app, not in the test)
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


def traced(function):
    """A decorator that uses `functools.wraps`."""

    @functools.wraps(function)
    def wrapper(*positional, **named):
        return function(*positional, **named)

    return wrapper


def with_a_default(function):
    """A decorator that supplies `b` and sets `__signature__`."""

    @functools.wraps(function)
    def wrapper(**named):
        return function(**{"b": 2} | named)

    signature = inspect.signature(function)
    b = signature.parameters["b"].replace(kind=inspect.Parameter.KEYWORD_ONLY, default=2)
    wrapper.__signature__ = signature.replace(parameters=[signature.parameters["a"], b])
    return wrapper


def strict(a: int, b: int) -> int:
    return a + b


def late(a: "int", b: "Later" = 2) -> int:
    return a + b


Later = int


def generated(a: int, b: int = 2):
    yield a + b


class Adder:
    def __call__(self, a: int, b: int = 2) -> int:
        return a + b

    def method(self, a: int, b: int = 2) -> int:
        return a + b

    @traced
    def decorated(self, a: int, b: int = 2) -> int:
        return a + b

    @classmethod
    def of_class(cls, a: int, b: int = 2) -> int:
        return a + b

    @staticmethod
    def static(a: int, b: int = 2) -> int:
        return a + b

    async def waits(self, a: int, b: int = 2) -> int:
        return a + b


class AsyncAdder:
    async def __call__(self, a: int, b: int = 2) -> int:
        return a + b


class Decorator:
    """A decorator that is a class and a descriptor."""

    def __init__(self, wrapped):
        functools.update_wrapper(self, wrapped)

    def __get__(self, instance, owner=None):
        return self

    async def __call__(self, **named):
        return await self.__wrapped__(**named)


class WithFunc:
    """An object that calls `func`, as `functools.partial` does."""

    def __init__(self, func):
        self.func = func

    def __call__(self, a: int, b: int = 2):
        return self.func(a, b)


async def waits(a: int, b: int = 2) -> int:
    return a + b


ADDERS = {
    "__signature__": with_a_default(strict),
    "wraps": traced(functools.partial(strict, b=2)),
    "wraps twice": traced(with_a_default(strict)),
    "partial": functools.partial(strict, b=2),
    "partial of a partial": functools.partial(functools.partial(strict), b=2),
    "partial of an object": functools.partial(Adder(), b=2),
    "partial of a method": functools.partial(Adder().method, b=2),
    "object": Adder(),
    "async object": AsyncAdder(),
    "partial of an async object": functools.partial(AsyncAdder(), b=2),
    "method": Adder().method,
    "decorated method": Adder().decorated,
    "async method": Adder().waits,
    "class method": Adder.of_class,
    "class method of an object": Adder().of_class,
    "static method": Adder.static,
    "static method object": staticmethod(late),
    "async static method object": staticmethod(waits),
    "async decorator object": Decorator(waits),
    "object with an async func": WithFunc(waits),
    "cached": functools.lru_cache(late),
    "text": late,
}


@pytest.mark.parametrize("how", ADDERS)
def test_every_kind_of_callable_is_bound_by_its_signature(how):
    app = herder.App()
    app.command(name="add")(ADDERS[how])
    with Client(app) as client:
        assert (client.call("add", a=1), client.call("add", a=1, b=3)) == (3, 4)
        for arguments, text in [
            ({}, "missing argument 'a'; it takes a, b (optional)"),
            ({"a": "1"}, "add: a: Input should be a valid integer"),
            ({"a": 1, "self": 1}, "unexpected argument 'self'"),
        ]:
            with pytest.raises(CallError) as raised:
                client.call("add", **arguments)
            assert raised.value.kind == "bad_arguments" and text in raised.value.message


def test_a_static_generator_is_collected():
    app = herder.App()
    app.command(name="list")(staticmethod(generated))
    with Client(app) as client:
        assert client.call("list", a=1) == [3]


def test_a_generator_behind_a_decorator_is_collected():
    app = herder.App()
    app.command(name="list")(functools.partial(generated, b=3))
    app.command(name="decorated")(traced(generated))
    with Client(app) as client:
        assert client.call("list", a=1) == [4]
        assert client.call("decorated", a=1) == [3]


def test_a_builtin_is_bound_unless_its_parameters_are_positional_only():
    app = herder.App()
    app.command(round)
    with Client(app) as client:
        assert client.call("round", number=2.567, ndigits=1) == 2.6
    app.command(sorted)
    with pytest.raises(TypeError, match="sorted: parameter 'iterable' is positional-only"):
        Client(app)


def test_a_name_in_the_place_of_the_function_is_refused_with_the_form_to_write():
    with pytest.raises(TypeError, match=r"write name='place'"):
        herder.App().command("place")


@pytest.fixture
def client():
    with Client(app) as client:
        yield client


def test_call_returns_the_result(client):
    assert client.call("add", item="tea", session="ann") == ["tea"]
    assert client.call("add", item="tea", session="ann") == ["tea", "tea"]
    assert client.call("add", item="tea", session="bob") == ["tea"]
    assert client.call("restock", item="tea") == "tea is back"
    assert client.call("letters", n=2) == ["a", "b"]
    assert client.call("current") == [7 - 1, 7 - 1, False]
    assert client.call("partial") == 450
    assert client.call("open", hour=9) == 9
    assert client.call("shop", door="front") == "front"


def test_end_session_runs_hooks_and_drops_the_state(client):
    client.call("add", item="tea", session="ann")
    client.end_session("ann", "expired")
    assert app.state.forgotten == ("ann", "expired", ["tea"])
    assert client.call("add", item="tea", session="ann") == ["tea"]


@pytest.mark.parametrize(
    "command,arguments,kind,text",
    [
        ("nope", {}, "unknown_command", "price"),
        ("price", {"item": 1}, "bad_arguments", "item: Input should be a valid string"),
        ("open", {"self": 1}, "bad_arguments", "'self'"),
        ("price", {"item": {1}}, "malformed", "arguments"),
        ("price", {"item": "x"}, "exception", "'x'"),
        ("add", {"item": "tea"}, "bad_arguments", "Herder-Session"),
    ],
)
def test_a_failed_call_raises_call_error(client, command, arguments, kind, text):
    with pytest.raises(CallError) as raised:
        client.call(command, **arguments)
    assert raised.value.kind == kind and text in raised.value.message


def test_the_exception_of_the_handler_is_the_cause(client):
    with pytest.raises(CallError) as raised:
        client.call("add", item="nut", session="ann")
    assert raised.value.code == "unknown_item" and isinstance(raised.value.__cause__, herder.Rejected)


def test_session_state_is_unavailable_without_session_affinity():
    with Client(app, session_state="set worker_type") as client, pytest.raises(CallError, match="set worker_type"):
        client.call("add", item="tea", session="ann")


def test_current_call_raises_outside_a_call():
    with pytest.raises(RuntimeError, match="no call"):
        herder.current_call()


def test_command_returns_the_function_unchanged():
    assert price.__name__ == "price"
    with pytest.raises(ValueError, match="already"):
        app.command(price)


def test_async_with_runs_async_hooks_and_handlers_in_the_running_loop():
    loops = []
    asyncio_app = herder.App()

    @asyncio_app.on_start
    async def connect():
        loops.append(asyncio.get_running_loop())

    @asyncio_app.command
    async def add(item: str, session: herder.Session, call: herder.Call):
        loops.append(asyncio.get_running_loop())
        assert herder.current_call() is call
        session.state.setdefault("items", []).append(item)
        return session.state["items"]

    @asyncio_app.command
    def plain(n: int) -> int:
        return n + 1

    @asyncio_app.on_session_end
    async def forget(session: herder.Session, reason: str):
        loops.append((session.state["items"], reason))

    async def main():
        async with Client(asyncio_app) as client:
            assert loops == [asyncio.get_running_loop()]
            assert await client.call("add", item="tea", session="ann") == ["tea"]
            assert await client.call("add", item="rye", session="ann") == ["tea", "rye"]
            assert await client.call("plain", n=1) == 2
            await client.end_session("ann", "expired")
            assert await client.call("add", item="tea", session="ann") == ["tea"]
        return asyncio.get_running_loop()

    loop = asyncio.run(main())
    assert loops == [loop, loop, loop, (["tea", "rye"], "expired"), loop]


def test_async_calls_fail_like_sync_ones():
    async def main():
        async with Client(app) as client:
            with pytest.raises(CallError, match="unknown_command"):
                await client.call("nothing")
            with pytest.raises(CallError, match="no such item") as raised:
                await client.call("add", item="gold", session="ann")
            assert raised.value.code == "unknown_item" and isinstance(raised.value.__cause__, herder.Rejected)
            return await client.call("letters", n=2)

    assert asyncio.run(main()) == ["a", "b"]


def test_async_calls_overlap_and_are_cancelled():
    overlapping = herder.App()
    arrived = []

    @overlapping.command
    async def meet(name: str) -> list:
        arrived.append(name)
        try:
            while len(arrived) < 2:
                await asyncio.sleep(0)  # noqa: TID251 (in the app, not in the test)
        except asyncio.CancelledError:
            arrived.append("cancelled")
            raise
        return sorted(arrived)

    async def main():
        async with Client(overlapping) as client:
            both = await asyncio.gather(client.call("meet", name="a"), client.call("meet", name="b"))
            assert both == [["a", "b"], ["a", "b"]]
            arrived.clear()
            waiting = asyncio.ensure_future(client.call("meet", name="a"))
            while not arrived:
                await asyncio.sleep(0)  # noqa: TID251 (yields only)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    asyncio.run(main())
    assert arrived == ["a", "cancelled"]


def test_in_a_running_loop_a_sync_client_runs_sync_handlers_only():
    async def main():
        with Client(app) as client:
            assert client.call("price", item="tea") == 450
            with pytest.raises(CallError, match="async with Client"):
                client.call("restock", item="tea")

    asyncio.run(main())


STREAMING = herder.App()
steps: list = []
variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)


def connect():
    yield "a connection"
    steps.append("disconnected")


@STREAMING.command
def rows(n: int, connection: Annotated[str, herder.Depends(connect)], fail: bool = False):
    try:
        for i in range(n):
            variable.set(variable.get() + 1)
            steps.append(i)
            yield [variable.get(), connection, herder.current_call().id > 0]
        if fail:
            raise herder.Rejected("no more")
    except GeneratorExit:
        steps.append("closed")
        raise


@STREAMING.command
async def a_rows(n: int, connection: Annotated[str, herder.Depends(connect)], fail: bool = False):
    for each in rows(n, connection, fail):
        await asyncio.sleep(0)  # noqa: TID251 (yields only)
        yield each


@STREAMING.command
def unencodable():
    yield 1
    yield object()


@STREAMING.command
def plain():
    return [1, 2]


def taken(stream, count):
    """Take some items of a stream and then close it."""
    items = list(itertools.islice(stream, count))
    stream.close()
    return items


@pytest.mark.parametrize("command", ["rows", "a_rows"])
def test_a_stream_takes_a_step_for_each_item(command):
    steps.clear()
    with Client(STREAMING) as client:
        stream = client.stream(command, n=3)
        assert next(stream) == [1, "a connection", True]
        assert steps == [0]
        assert list(stream) == [[2, "a connection", True], [3, "a connection", True]]
        assert steps == [0, 1, 2, "disconnected"]
        steps.clear()
        assert taken(client.stream(command, n=10**9), 2) == [[1, "a connection", True], [2, "a connection", True]]
        assert steps[:2] == [0, 1] and "closed" in steps
        failing = client.stream(command, n=1, fail=True)
        next(failing)
        with pytest.raises(CallError, match="rejected: no more"):
            next(failing)
        with pytest.raises(CallError, match="bad_arguments"):
            next(client.stream(command, n="many"))


def test_streams_of_other_handlers_and_of_values_without_a_form():
    with Client(STREAMING) as client:
        assert list(client.stream("plain")) == [[1, 2]]
        stream = client.stream("unencodable")
        assert next(stream) == 1
        with pytest.raises(CallError, match="unencodable: item 1 of the stream: "):
            next(stream)


@pytest.mark.parametrize("command", ["rows", "a_rows"])
def test_streams_in_a_running_loop(command):
    async def main():
        steps.clear()
        async with Client(STREAMING) as client:
            async with contextlib.aclosing(client.stream(command, n=3)) as stream:
                assert await anext(stream) == [1, "a connection", True]
                assert steps == [0]
            assert "closed" in steps
            assert len([each async for each in client.stream(command, n=3)]) == 3
            assert [each async for each in client.stream("plain")] == [[1, 2]]
            with pytest.raises(CallError, match="no more"):
                assert not [each async for each in client.stream(command, n=0, fail=True)]

    asyncio.run(main())
