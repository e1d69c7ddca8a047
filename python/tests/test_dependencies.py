"""`herder.Depends`: what providers may be, when they and their clean-up run, and what callers see."""

import gc
from typing import Annotated

import pytest

import herder
from herder.errors import StartFailed
from herder.testing import CallError, Client

# Each step adds a line to `log`.
APP = """
from typing import Annotated
from herder import Call, Depends, Rejected

log = []

def outer():
    log.append("begin outer")
    try:
        yield "outer"
    except BaseException as error:
        log.append(f"outer sees {type(error).__name__}")
        raise
    finally:
        log.append("end outer")

def inner(outer: Annotated[str, Depends(outer)], call: Call):
    log.append("begin inner")
    yield f"{outer}>inner of {call.id == herder.current_call().id}"
    log.append("end inner")

class Settings:
    def __init__(self, outer: str = Depends(outer), unit: str = "s"):
        self.text = outer + unit

@app.command
def both(x: int, inner: Annotated[str, Depends(inner)], settings: Settings = Depends()):
    log.append("handler")
    if x < 0:
        raise Rejected("negative", code="negative")
    return [x, inner, settings.text]

@app.command
def wait(inner: Annotated[str, Depends(inner)]):
    print("waits")
    while True:
        time.sleep(0.01)

@app.command
def take():
    taken = log.copy()
    log.clear()
    return taken
"""
IN_THREADS = "app = herder.App(run_sync='thread')\n" + APP
ASYNC = APP.replace("time.sleep", "await asyncio.sleep").replace("def take", "_def take").replace("def __", "_def __")
ASYNC = ASYNC.replace("\ndef ", "\nasync def ").replace("_def", "def")


@pytest.mark.parametrize("app", [APP, IN_THREADS, ASYNC], ids=["sync", "threads", "async"])
def test_providers_run_once_in_order_and_end_in_reverse(start, app):
    host = start(app)
    begun = ["begin outer", "begin inner", "handler"]
    assert host.call("both", x=1).result == [1, "outer>inner of True", "outers"]
    assert host.call("take").result == [*begun, "end inner", "end outer"]
    # The generators see the exception of the handler, and the caller still gets it.
    refused = host.call("both", x=-1)
    assert (refused.error["kind"], refused.error["code"]) == ("rejected", "negative")
    assert host.call("take").result == [*begun, "outer sees Rejected", "end outer"]
    # Nothing runs for a call that is refused. A dependency is no argument.
    assert host.call("both", x="1").error_kind == "bad_arguments"
    unexpected = {"loc": ["inner"], "msg": "Extra inputs are not permitted", "type": "extra_forbidden"}
    assert host.call("both", x=1, inner="mine").error["errors"] == [unexpected]
    assert host.call("take").result == []


@pytest.mark.parametrize(
    ("app", "seen"),
    [(APP, ["Interrupted"]), (ASYNC, ["CancelledError", "Interrupted"])],  # the latter if it comes between two awaits
    ids=["sync", "async"],
)
def test_clean_up_runs_after_a_cancel(start, app, seen):
    host = start(app)
    wire_id = host.send("wait")
    assert host.wait_for_line() == "waits"
    host.cancel(wire_id, interrupt=True)
    assert host.answer().error_kind == "cancelled"
    steps = host.call("take").result
    assert steps in (["begin outer", "begin inner", f"outer sees {each}", "end outer"] for each in seen)


# The providers see and reset the context variable that they have set.
DECORATED = """
import functools
from contextvars import ContextVar
from typing import Annotated
from herder import Depends

log = []
tenant = ContextVar("tenant")

def blocking(function):  # as in programs for the command line
    @functools.wraps(function)
    def wrapper(**arguments): return asyncio.run(function(**arguments))
    return wrapper

def plain(function):
    @functools.wraps(function)
    def wrapper(**arguments): return function(**arguments)
    return wrapper

def conn():
    token = tenant.set("acme")
    try:
        yield "conn"
    except BaseException as error:
        log.append(f"conn sees {type(error).__name__}")
        raise
    finally:
        tenant.reset(token)
        log.append("end")

async def lookup(key: str, conn: Annotated[str, Depends(conn)]):
    await asyncio.sleep(0)
    if key == "wait":
        print("waits")
        await asyncio.sleep(1000)
    log.append(f"{conn} of {tenant.get()}")
    return {"tea": 1}[key]

for name, function in {"blocking": blocking(lookup), "plain": plain(lookup)}.items():
    app.command(name=name)(function)
    app.command(name=name + "_in_thread", run_sync="thread")(function)

@app.command
def take():
    taken = log.copy()
    log.clear()
    return taken
"""


def test_a_decorator_that_runs_or_returns_the_coroutine_of_a_handler(start):
    host = start(DECORATED)
    for command in ("blocking", "plain", "blocking_in_thread", "plain_in_thread"):
        assert host.call(command, key="tea").result == 1, command
        assert host.call("take").result == ["conn of acme", "end"], command
        assert host.call(command, key="milk").error["type"] == "KeyError", command
        assert host.call("take").result == ["conn of acme", "conn sees KeyError", "end"], command
    wire_id = host.send("plain", key="wait")
    assert host.wait_for_line() == "waits"
    host.cancel(wire_id, interrupt=True)
    assert host.answer().error_kind == "cancelled"
    assert host.call("take").result in ([f"conn sees {each}", "end"] for each in ("CancelledError", "Interrupted"))


def test_interrupts_wait_while_a_frame_of_the_dependencies_is_innermost(start):
    """An interrupt between two clean-ups would lose the second one. The signal handler is called with such a frame."""
    host = start("""
        from herder import Depends, dependencies, signals
        frames = []

        def provider():
            frames.append(sys._getframe(1))

        @app.command
        def check(value: object = Depends(provider)):
            own = signals.is_uninterruptible(sys._getframe(), ())
            return [frames[0].f_code.co_name, signals.is_uninterruptible(frames[0], ()), own]
    """)
    assert host.call("check").result == ["begin", True, False]


def test_a_clean_up_that_raises(start):
    host = start("""
        from herder import Depends, Rejected

        def conn():
            yield "conn"
            raise OSError("commit failed")

        def translated():
            try:
                yield
            except KeyError as error:
                raise Rejected(f"no {error.args[0]}", code="missing") from None

        def hidden():
            try:
                yield
            except ValueError:
                pass

        def twice():
            yield 1
            yield 2

        @app.command
        def commit(conn: str = Depends(conn)):
            return 1

        @app.command
        def translate(each: None = Depends(translated)):
            return {}["tea"]

        @app.command
        def hide(each: None = Depends(hidden)):
            raise ValueError("not hidden")

        @app.command
        def two(each: int = Depends(twice)):
            return each
    """)
    failed = host.call("commit").error
    assert (failed["type"], failed["message"]) == ("OSError", "commit failed")
    assert 'raise OSError("commit failed")' in failed["traceback"]
    translated = host.call("translate").error
    assert (translated["kind"], translated["message"], translated["code"]) == ("rejected", "no tea", "missing")
    assert host.call("hide").error["message"] == "not hidden"
    assert host.call("two").error["message"] == "the provider twice yielded a second time; it must yield once"
    host.shutdown()
    _, _, logged = host.wait_for_exit()
    assert "the clean-up of the dependency conn raised an exception:" in logged
    assert "commit failed" in logged and "translated" not in logged and "hidden" not in logged


# Each provider prints when it begins and when it ends.
SCOPES = """
from typing import Annotated
from herder import Depends, Session

note = lambda text: sys.stdout.write(text + '\\n')  # at once: `print` of two threads mixes lines

def engine():
    time.sleep(0.001)
    note("engine begins")
    yield "engine"
    note("engine ends")

def cart(session: Session, engine: Annotated[str, Depends(engine, scope="worker")]):
    note(f"{engine} cart of {session.id} begins")
    yield []
    note(f"cart of {session.id} ends")
    raise OSError("only logged")

@app.command
def add(item: str, cart: Annotated[list, Depends(cart, scope="session")]):
    cart.append(item)
    return cart

@app.on_session_end
def ended(session: Session, reason: str):
    note(f"{session.id} {reason}")
"""
ASYNC_SCOPES = SCOPES.replace("\ndef ", "\nasync def ").replace("time.sleep", "await asyncio.sleep")
SCOPES_IN_THREADS = "app = herder.App(run_sync='thread')\n" + SCOPES


@pytest.mark.parametrize("app", [SCOPES, SCOPES_IN_THREADS, ASYNC_SCOPES], ids=["sync", "threads", "async"])
def test_values_of_a_session_and_of_the_worker_are_kept(start, app):
    host = start(app, concurrency=4)
    first = [host.send("add", item="a", session=session) for session in ("ann", "bob", "cid")]  # at once
    assert {each.wire_id: each.result for each in host.answers(3).values()} == {each: ["a"] for each in first}
    assert host.call("add", item="b", session="ann").result == ["a", "b"]
    assert "needs a session" in host.call("add", item="b").error["message"]
    host.end_session("ann")
    host.call("add", item="b", session="bob")  # after the hooks
    assert host.call("add", item="c", session="ann", epoch=2).result == ["c"]
    host.shutdown()
    status, out, logged = host.wait_for_exit()
    lines = out.splitlines()
    assert status == 0 and lines[0] == "engine begins" and lines.count("engine begins") == 1
    assert sorted(lines[1:4]) == [f"engine cart of {each} begins" for each in ("ann", "bob", "cid")]
    # An asyncio worker, as one with threads, runs the hooks beside the next calls.
    in_order = ["ann ended", "cart of ann ends", "engine cart of ann begins"]
    assert lines[4:7] == in_order if app is SCOPES else set(lines[4:7]) == set(in_order)
    assert sorted(lines[7:10]) == [f"cart of {each} ends" for each in ("ann", "bob", "cid")]
    assert lines[10:] == ["engine ends"], "after what may need it"
    assert logged.count("the clean-up of the dependency cart raised an exception:") == 4


def test_a_value_that_could_not_be_created_is_tried_again(start):
    host = start("""
        runs = []

        def flaky():
            runs.append(1)
            if len(runs) == 1:
                raise OSError("not yet")
            return len(runs)

        @app.command
        def use(value: int = herder.Depends(flaky, scope="worker")):
            return value
    """)
    assert host.call("use").error["message"] == "not yet"
    assert [host.call("use").result for _ in range(2)] == [2, 2]


def test_values_of_a_session_need_session_state(start):
    reason = 'sessions need `worker_type = "enhanced"` in [pools.shop]'
    host = start(SCOPES, wait=False, session_state=reason)
    expected = f'the dependency cart has scope="session", but this pool has no session state: {reason}'
    assert host.start_error()["message"].startswith(expected)


def counted():
    counted.count += 1
    return counted.count


counted.count = 0


async def opened():
    yield "opened"


async def outside(call: herder.Call, opened: str = herder.Depends(opened)) -> str:
    assert call.id == herder.current_call().id
    return opened + " outside"


class Repository:
    def __init__(self, session: herder.Session):
        self.session = session.id


type_alias = Annotated[int, herder.Depends(counted)]
app = herder.App()


@app.command
def cached(a: type_alias, b: type_alias, c: Annotated[int, herder.Depends(counted, use_cache=False)]) -> list[int]:
    return [a == b, c - a]


@app.command
def mixed(text: Annotated[str, herder.Depends(outside)], **others) -> list:
    """A sync handler with an async provider."""
    return [text, others]


@app.command
def stored(repository: Annotated[Repository, herder.Depends()]) -> str:
    return repository.session


@app.command
async def items(text: Annotated[str, herder.Depends(outside)]):
    yield text


def test_the_client_supplies_dependencies_and_overrides():
    with Client(app) as client:
        assert client.call("cached") == [True, 1]
        assert client.call("mixed", y=1) == ["opened outside", {"y": 1}]
        assert client.call("items") == ["opened outside"]
        assert client.call("stored", session="ann") == "ann"
        for name in ("text", "<call>"):
            with pytest.raises(CallError, match="unexpected argument"):
                client.call("mixed", **{name: "mine"})
        with pytest.raises(CallError, match="needs a session"):
            client.call("stored")
        app.dependency_overrides[opened] = lambda: "fake"
        try:
            assert client.call("mixed") == ["fake outside", {}]
        finally:
            app.dependency_overrides.clear()
        assert client.call("mixed") == ["opened outside", {}]


def test_the_client_keeps_values_until_its_end():
    app, log = herder.App(), []

    async def engine():
        log.append("engine begins")
        yield len(log)
        log.append("engine ends")

    def cart(session: herder.Session, engine: int = herder.Depends(engine, scope="worker")):
        yield [session.id, engine]
        log.append(f"cart of {session.id} ends")

    @app.command
    def add(cart: Annotated[list, herder.Depends(cart, scope="session")]):
        return cart

    app.on_stop(lambda: log.append("on_stop"))
    for _ in range(2):  # each has its own values
        log.clear()
        with Client(app) as client:
            assert [client.call("add", session=each) for each in ("ann", "bob", "ann")] == [
                ["ann", 1],
                ["bob", 1],
                ["ann", 1],
            ]
            client.end_session("ann")
        assert log == ["engine begins", "cart of ann ends", "cart of bob ends", "engine ends", "on_stop"]
    with pytest.raises(
        StartFailed, match=r'the dependency .*cart has scope="session", but this pool has no session state: no'
    ):
        Client(app, session_state="no")


def test_no_cycle_of_objects_is_left_behind_after_an_error():
    app = herder.App()

    class Big:
        pass

    @app.command
    def fail(value: Annotated[object, herder.Depends(Big)]):
        raise ValueError

    (command,) = app._commands().values()
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(ValueError):
            command.call()
        assert not [each for each in gc.get_objects() if type(each) is Big]
    finally:
        gc.enable()


@pytest.mark.parametrize("kind", ["", "async "], ids=["sync", "async"])
def test_a_generator_that_fails_before_its_value_or_yields_twice(start, kind):
    host = start(f"""
        from herder import Depends, Rejected
        log = []

        {kind}def outer():
            try:
                yield
            except Exception as error:
                log.append(f"outer sees {{type(error).__name__}}")
                raise

        {kind}def user():
            raise Rejected("log in first", code="unauthorized", status=401)
            yield

        {kind}def empty():
            return
            yield

        {kind}def twice():
            try:
                yield
                yield
            finally:
                log.append("end twice")

        @app.command
        {kind}def first(outer: None = Depends(outer), user: None = Depends(user)): ...

        @app.command
        {kind}def second(outer: None = Depends(outer), empty: None = Depends(empty)): ...

        @app.command
        {kind}def third(outer: None = Depends(outer), twice: None = Depends(twice)): ...

        @app.command
        def take():
            taken = log.copy()
            log.clear()
            return taken
    """)
    refused = host.call("first").error
    assert (refused["kind"], refused["code"], refused["status"]) == ("rejected", "unauthorized", 401)
    assert host.call("take").result == ["outer sees Rejected"]
    assert host.call("second").error["message"] == "the provider empty ended without yielding a value"
    assert host.call("take").result == ["outer sees RuntimeError"]
    assert host.call("third").error["message"] == "the provider twice yielded a second time; it must yield once"
    assert host.call("take").result == ["end twice", "outer sees RuntimeError"]
