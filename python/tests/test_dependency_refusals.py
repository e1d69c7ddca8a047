"""What is refused of dependencies: when the app is loaded, and of what providers return."""

import functools
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated

import pytest

import herder
from herder.binding import Command
from herder.dependencies import Compiler
from herder.testing import CallError, Client


def counted():
    return 1


async def awaited():
    return 1


def needs_b(b: "Annotated[int, herder.Depends(needs_a)]"):
    return b


def needs_a(a: Annotated[int, herder.Depends(needs_b)]):
    return a


def no_default(limit: int):
    return limit


def of_a_call(value: int = herder.Depends(counted)):
    return value


no_signature = dict


def many_sessions(*sessions: herder.Session):
    return 1


def many_values(**values: Annotated[int, herder.Depends(counted)]):
    return 1


def of_a_session(session: herder.Session):
    return 1


def of_the_call(call: herder.Call):
    return 1


@contextmanager
def wrapped():
    yield 1


@asynccontextmanager
async def wrapped_async():
    yield 1


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (Annotated[int, herder.Depends(needs_a)], "a dependency needs itself: needs_a -> needs_b -> needs_a"),
        (Annotated[int, herder.Depends(no_default)], "provider no_default: nothing supplies the parameter `limit`"),
        (Annotated[int, herder.Depends(wrapped)], "the provider wrapped is wrapped, as by @contextmanager"),
        (Annotated[int, herder.Depends(wrapped_async)], "the provider wrapped_async is wrapped"),
        (
            Annotated[int, herder.Depends(of_a_call, scope="worker")],
            "its parameter `value`, which has scope='call'; write herder.Depends(counted, scope='worker')",
        ),
        (
            Annotated[int, herder.Depends(of_a_session, scope="worker")],
            "provider of_a_session: a value with scope='worker' outlives the session (`session`)",
        ),
        (
            Annotated[int, herder.Depends(of_the_call, scope="session")],
            "provider of_the_call: a value with scope='session' outlives the call (`call`)",
        ),
        (
            Annotated[int, herder.Depends(no_signature)],
            "no signature found for builtin type <class 'dict'>; wrap it in a function",
        ),
        (
            Annotated[int, herder.Depends(many_sessions)],
            "many_sessions: `*sessions` is invalid: herder.Depends, herder.Session and herder.Call supply one",
        ),
        (Annotated[int, herder.Depends(many_values)], "many_values: `**values` is invalid: herder.Depends"),
        (Annotated[int, herder.Depends()] | None, "herder.Depends applies to a whole parameter"),
        (dict[str, Annotated[str, herder.Depends(counted)]], "herder.Depends applies to a whole parameter"),
    ],
)
def test_what_cannot_be_supplied_is_refused_when_the_app_is_loaded(annotation, message):
    def handler(value: annotation): ...

    with pytest.raises(TypeError) as refused:
        Command("f", handler, False, lambda: Compiler({}))
    assert str(refused.value).startswith("command 'f' (") and message in str(refused.value)


def of_options(*rest, limit: int = 3, **options):
    return [rest, limit, options]


def test_the_other_parameters_of_providers_get_nothing_or_their_defaults():
    app = herder.App()

    @app.command
    def use(value: Annotated[list, herder.Depends(of_options)], *rest, **others):
        return [value, rest, others]

    with Client(app) as client:
        assert client.call("use", x=1) == [[[], 3, {}], [], {"x": 1}]

    @app.command
    def refused(*values: Annotated[int, herder.Depends(counted)]): ...

    with pytest.raises(
        TypeError, match=r"refused: `\*values` is invalid: herder.Depends, herder.Session and herder.Call"
    ):
        app._commands()


def wrapped_lookup(function):
    @functools.wraps(function)
    def wrapper():
        return function()

    return wrapper


async def lookup():
    return 1


def forgotten():
    return lookup()


def forgotten_value():
    yield lookup()


async def forgotten_async():
    return lookup()


@pytest.mark.parametrize(
    ("provider", "message"),
    [
        (forgotten, "forgotten returned a coroutine, which nothing awaits; declare the provider with `async def`"),
        (forgotten_value, "forgotten_value returned a coroutine, which nothing awaits"),
        (forgotten_async, "forgotten_async returned a coroutine, which nothing awaits"),
        (wrapped_lookup(lookup), "lookup returned a coroutine, since a decorator of this async function is not async;"),
    ],
)
def test_a_coroutine_is_no_value(provider, message):
    app = herder.App()

    @app.command
    def use(value: Annotated[object, herder.Depends(provider)]):
        return value

    with Client(app) as client, pytest.raises(CallError) as failed:
        client.call("use")
    assert failed.value.type == "TypeError" and failed.value.message.startswith(f"the provider {message}")


def test_the_annotation_that_first_names_depends_is_a_string(start):
    host = start("""
        from typing import Annotated

        def checked(call: herder.Call) -> int:
            return call.id

        @app.command
        def f(x: "Annotated[int, herder.Depends(checked)]"):
            return x
    """)
    assert host.call("f").result == 1


@pytest.mark.parametrize("provider", ["local", "functools.partial(local)"])
def test_a_provider_that_an_annotation_cannot_find_is_refused(provider):
    """A check of access would not run otherwise."""

    def local(): ...

    def handler(user): ...

    handler.__annotations__["user"] = f"Annotated[None, herder.Depends({provider})]"
    with pytest.raises(TypeError, match="the provider `local` is not defined in the module of the function"):
        Command("f", handler, False, lambda: Compiler({}))


def test_a_handler_in_a_thread_cannot_have_async_dependencies():
    app = herder.App(run_sync="thread")

    @app.command
    def handler(text: str = herder.Depends(awaited)): ...

    with pytest.raises(TypeError, match="command 'handler' runs in a thread, where its async dependencies"):
        app._commands()


def test_depends_checks_what_it_is_given():
    with pytest.raises(TypeError, match="a provider is a function or a class"):
        herder.Depends("conn")
    with pytest.raises(ValueError, match="scope='request' is invalid; expected"):
        herder.Depends(counted, scope="request")
    with pytest.raises(ValueError, match="use_cache=False is invalid with scope='worker'"):
        herder.Depends(counted, scope="worker", use_cache=False)
