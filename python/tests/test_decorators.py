"""Commands and hooks behind decorators of the common shapes."""

import pytest

APP = """
import functools, inspect

def plain(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        print("plain")
        return function(*args, **kwargs)
    return wrapper

def awaiting(function):
    @functools.wraps(function)
    async def wrapper(*args, **kwargs):
        result = function(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result
    return wrapper

def blocking(function):  # as in programs for the command line
    @functools.wraps(function)
    def wrapper(*args, **kwargs): return asyncio.run(function(*args, **kwargs))
    return wrapper

class Counting:
    def __init__(self, function):
        functools.update_wrapper(self, function)
        self.function, self.count = function, 0
    def __call__(self, *args, **kwargs):
        self.count += 1
        return self.function(*args, **kwargs)

class AsyncCounting(Counting):
    async def __call__(self, *args, **kwargs): return await self.function(*args, **kwargs)

def with_unit(function):  # changes the signature
    @functools.wraps(function)
    def wrapper(unit: str, **kwargs): return f"{function(**kwargs)} {unit}"
    signature = inspect.signature(function)
    unit = inspect.Parameter("unit", inspect.Parameter.KEYWORD_ONLY, annotation=str)
    wrapper.__signature__ = signature.replace(parameters=[*signature.parameters.values(), unit])
    return wrapper

def add(a: int, b: int = 1): return a + b
async def add_async(a: int, b: int = 1):
    await asyncio.sleep(0)
    return a + b
def items(a: int, b: int = 1): yield from (a, b)
async def items_async(a: int, b: int = 1):
    for each in (a, b): yield each

commands = {
    "plain": plain(add), "plain_twice": plain(plain(add)), "plain_of_async": plain(add_async),
    "awaiting": awaiting(add), "awaiting_of_async": awaiting(add_async), "blocking": blocking(add_async),
    "counting": Counting(add), "counting_of_async": Counting(add_async), "async_counting": AsyncCounting(add_async),
    "partial": functools.partial(add), "partial_of_async": functools.partial(add_async),
    "partial_of_plain_of_async": functools.partial(plain(add_async)), "cached": functools.lru_cache(add),
}
for name, function in commands.items():
    app.command(name=name)(function)
    app.command(name=name + "_in_thread", run_sync="thread")(function)
app.command(name="items")(plain(items))
app.command(name="items_async")(plain(items_async))
app.command(name="bound", idempotent=True)(functools.partial(add, b=5))
app.command(name="with_unit")(with_unit(add))

def note(text):
    def sync(*args): print(text, *args)
    return sync
async def note_async(*args): print("async", *args)

app.on_start(plain(note("start")))
app.on_start(plain(note_async))
app.on_stop(functools.partial(note("stop")))
app.on_stop(Counting(note_async))
app.on_session_start(plain(note_async))
app.on_session_end(Counting(note_async))
"""
NAMES = [
    "plain",
    "plain_twice",
    "plain_of_async",
    "awaiting",
    "awaiting_of_async",
    "blocking",
    "counting",
    "counting_of_async",
    "async_counting",
    "partial",
    "partial_of_async",
    "partial_of_plain_of_async",
    "cached",
]


def test_decorated_commands_and_hooks(start):
    host = start(APP)
    assert [host.wait_for_line() for _ in range(4)] == ["plain", "start", "plain", "async"]
    for name in NAMES:
        for command in (name, name + "_in_thread"):
            assert host.call(command, a=2).result == 3, command
            refused = host.call(command, a="2")
            assert (refused.error_kind, refused.error["errors"][0]["loc"]) == ("bad_arguments", ["a"]), command
    assert host.call("items", a=2).result == host.call("items_async", a=2).result == [2, 1]
    assert host.call("bound", a=2).result == 7
    assert host.call("with_unit", a=2, unit="kg").result == "3 kg"
    assert host.call("with_unit", a=2).error["errors"][0]["loc"] == ["unit"]
    assert host.call("plain", a=1, session="ann").result == 2
    host.end_session("ann")
    host.shutdown()
    lines = [line for line in host.wait_for_exit()[1].splitlines() if line != "plain"]
    session = "<herder.Session 'ann'>"
    assert lines == [f"async {session}", f"async {session} ended", "async", "stop"]


@pytest.mark.parametrize("kind", ["", "async "], ids=["sync", "asyncio"])
def test_an_error_of_a_decorated_command_names_its_lines(start, kind):
    host = start(f"""
        import functools

        def plain(function):
            @functools.wraps(function)
            def wrapper(**kwargs): return function(**kwargs)
            return wrapper

        @app.command
        @plain
        {kind}def fails(): raise ValueError("no")
        """)
    error = host.call("fails").error
    assert (error["kind"], error["message"]) == ("exception", "no") and 'raise ValueError("no")' in error["traceback"]
