"""R26: each call has its own context, decimal context and current call."""

import pytest

SYNC = """
import contextvars, decimal, threading

color = contextvars.ContextVar("color", default="none")
threads = []

@app.on_start
def begin():
    color.set("of on_start")
    decimal.getcontext().prec = 12

@app.command
def paint(to: str, session: herder.Session) -> str:
    before = color.get()
    color.set(to)
    return before

@app.command
def third(prec: int) -> list:
    before = decimal.getcontext().prec
    decimal.getcontext().prec = prec
    return [before, str(decimal.Decimal(1) / 3)]

@app.on_session_end
def end(session: herder.Session, reason: str):
    print(color.get(), decimal.getcontext().prec)
    color.set("of a hook")
    decimal.getcontext().prec = 3

@app.command
def start_a_thread(call: herder.Call) -> int:
    ask, reported = threading.Event(), threading.Event()
    def look():
        ask.wait()
        try:
            results.append(herder.current_call().id)
        except RuntimeError as error:
            results.append(str(error))
        reported.set()
    results = []
    threading.Thread(target=look, daemon=True).start()
    threads.append((ask, reported, results))
    return call.id

@app.command
def ask_the_thread() -> list:
    ask, reported, results = threads.pop()
    ask.set()
    reported.wait()
    return results
"""


WITHOUT_C = "import sys\nsys.modules['_decimal'] = None\n"  # a build of Python without the C code of `decimal`


@pytest.mark.parametrize("first", ["", WITHOUT_C])
def test_r26_a_call_sees_what_on_start_left_and_nothing_of_another_call(start, first):
    host = start(first + SYNC)
    assert host.call("paint", to="red", session="ann").result == "of on_start"
    assert host.call("paint", to="blue", session="ann").result == "of on_start"
    assert host.call("third", prec=4).result == [12, "0.3333"]
    assert host.call("third", prec=5).result == [12, "0.33333"]


def test_r26_each_hook_has_its_own_context(start):
    host = start(SYNC)
    for session in ("ann", "bob"):
        host.end_session(session)
        assert host.wait_for_line() == "of on_start 12"
    assert host.call("paint", to="red", session="ann").result == "of on_start"


def test_r26_a_thread_of_an_ended_call_has_no_current_call(start):
    host = start(SYNC)
    host.call("start_a_thread")
    assert host.call("ask_the_thread").result == ["no call is running in this thread or task"]


@pytest.mark.parametrize("large", [False, True])
def test_r26_a_call_without_memory_fails(start, large):
    """With the large frame, memory ends while it is read; with the other one, while its arguments are decoded."""
    host = start(
        """
        import resource

        @app.command
        def limit(extra: int) -> None:
            with open("/proc/self/statm") as f:
                now = int(f.read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (now + extra, resource.RLIM_INFINITY))

        @app.command
        def count(items: list) -> int: return len(items)
        """
    )
    host.call("limit", extra=40 << 20)
    items = b'{"items":[' + b"{},[]," * (8 << 20 if large else 1 << 20) + b"1]}"
    answer = host.call("count", items)
    assert answer.error["type"] == "MemoryError", answer.error
    assert host.call("count", items=[1, 2]).result == 2
