"""`herder.Call`: the headers and the session of a call."""

import pytest

from herder.testing import Client

APP = """
from herder import Call

calls = []

@app.command
def read(call: Call):
    calls.append(call)
    return [call.headers, call.traceparent, call.request_id, call.session and [call.session.id, call.session.state]]

@app.command
def write(value: int, session: herder.Session):
    herder.current_call().session.state["value"] = value

@app.command
def kept():
    return len(herder.current_call()._calls.headers)
"""
HANDLERS = {
    "sync": APP,
    "async": APP.replace("def ", "async def "),
    "thread": "app = herder.App(run_sync='thread')" + APP,
}


@pytest.mark.parametrize("kind", HANDLERS)
def test_a_call_has_its_headers_and_its_session(start, kind):
    host = start(HANDLERS[kind])
    assert host.call("read").result == [{}, None, None, None]
    host.send_headers(host.next_id + 1, x_tenant="a, b", traceparent="00-1", x_request_id="7")
    headers = {"x-tenant": "a, b", "traceparent": "00-1", "x-request-id": "7"}
    host.call("write", value=3, session="ann")
    assert host.call("read").result[0] == {}, "the headers belong to the call before"
    host.send_headers(host.next_id + 1, x_tenant="a, b", traceparent="00-1", x_request_id="7")
    assert host.call("read", session="ann").result == [headers, "00-1", "7", ["ann", {"value": 3}]]


OTEL = """
import contextvars

current = contextvars.ContextVar("current", default=None)
"""


@pytest.mark.parametrize("kind", HANDLERS)
def test_a_handler_runs_in_the_trace_of_its_call(start, kind, tmp_path):
    package = tmp_path / "opentelemetry"
    package.mkdir()
    package.joinpath("__init__.py").write_text(OTEL)
    package.joinpath("context.py").write_text("from opentelemetry import current\nattach = current.set\n")
    package.joinpath("propagate.py").write_text("def extract(headers): return headers['traceparent']\n")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})

@app.command
def current():
    loaded = sys.modules.get("opentelemetry")
    return [loaded and loaded.current.get(), herder.current_call().traceparent, herder.current_call().tracestate]
"""
    host = start(HANDLERS[kind] + (code.replace("def ", "async def ") if kind == "async" else code))
    assert host.call("current").result == [None, None, None], "nothing is imported without a trace"
    for number in ["1", "2"]:
        host.send_headers(host.next_id + 1, traceparent=f"00-{number}", tracestate="a=b")
        assert host.call("current").result == [f"00-{number}", f"00-{number}", "a=b"]
        assert host.call("current").result == [None, None, None]


def test_headers_of_overlapping_calls_are_kept_and_dropped_later(start):
    host = start(HANDLERS["async"].replace("calls.append", "await asyncio.sleep(0); calls.append"), concurrency=4)
    for number in range(200):
        host.send_headers(host.next_id + 1, x_number=str(number))
        host.send("read")
    answers = host.answers(200)
    assert sorted(int(each.result[0]["x-number"]) for each in answers.values()) == list(range(200))
    host.send_headers(host.next_id + 1, x_number="last")
    assert host.call("kept").result < 50, "those of answered calls are dropped when there are more than 32"


def test_the_client_sets_headers():
    import herder

    app = herder.App()

    @app.command
    def read(call: herder.Call, session: herder.Session):
        return [call.headers["x-tenant"], call.session.id, session.id]

    with Client(app, headers={"x-tenant": "acme"}) as client:
        assert client.call("read", session="ann") == ["acme", "ann", "ann"]
