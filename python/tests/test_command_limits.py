"""`@app.command(timeout=..., concurrency=...)`."""

import pytest

import herder
from herder import frames

APP = """
events = {}

def event(name): return events.setdefault(name, asyncio.Event())

@app.command(concurrency=2, timeout="2s")
async def limited(name):
    print("begins", name)
    await event(name).wait()
    return name

@app.command(timeout=0.5)
async def release(name): event(name).set()

@app.command(run_sync="thread", concurrency=1)
def in_thread(): print("in thread"); time.sleep(0.05); print("leaves")
"""


def test_ready_states_the_timeouts(start):
    commands = start(APP).ready_message["commands"]
    assert [each.get("timeout_ms") for each in commands] == [2000, 500, None]


def test_calls_beyond_the_limit_wait_and_hold_up_no_other_command(start):
    """Those that wait can be cancelled, and begin in their order."""
    host = start(APP, concurrency=8)
    ids = {name: host.send("limited", name=name) for name in "abcd"}
    assert [host.wait_for_line(), host.wait_for_line()] == ["begins a", "begins b"]
    assert host.call("release", name="unused").result is None
    host.cancel(ids["c"])
    assert host.state() == (ids["c"], frames.WITHDRAWN)
    cancelled = host.answer()
    assert (cancelled.wire_id, cancelled.error_kind) == (ids["c"], "cancelled")
    released = host.send("release", name="a")
    answers = host.answers(2)
    assert answers[ids["a"]].result == "a" and answers[released].result is None
    assert host.wait_for_line() == "begins d"
    host.send("release", name="b")
    host.send("release", name="d")
    assert sorted(each.result or "" for each in host.answers(4).values()) == ["", "", "b", "d"]


def test_a_limit_holds_for_handlers_in_threads(start):
    host = start(APP, concurrency=8)
    for _ in range(3):
        host.send("in_thread")
    host.answers(3)
    assert [host.wait_for_line() for _ in range(6)] == 3 * ["in thread", "leaves"]


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), True, "2", "s", "2x", "-1s", "", [], 1e9])
def test_an_invalid_timeout_is_refused(timeout):
    with pytest.raises(ValueError, match="is invalid; expected seconds"):
        herder.App().command(timeout=timeout)


@pytest.mark.parametrize("concurrency", [0, -1, True, 1.5, "2"])
def test_an_invalid_concurrency_is_refused(concurrency):
    with pytest.raises(ValueError, match="is invalid; expected an integer"):
        herder.App().command(concurrency=concurrency)
