"""The work of the loop for each call, in counts that do not depend on the load of the machine."""

import sys

import pytest

# The handlers themselves switch the count on and off. Nothing counts while the worker waits for a call.
COUNTED = """
import dis
names = []

def count(frame, event, _):
    if event == "call":
        names.append(getattr(frame.f_code, "co_qualname", frame.f_code.co_name).rpartition(".")[2])

@app.command
def begin():
    names.clear()
    sys.setprofile(count)

@app.command
def small(x, text: str = ""):
    return {"x": x, "text": text}

def provider():
    yield

@app.command
def unused(value: object = herder.Depends(provider)):
    # A command with a dependency: the others must not pay for it.
    return value

@app.command
def end():
    sys.setprofile(None)
    return names

@app.command
def instructions():
    from herder.loop import MainLoop
    return [each.opname for each in dis.get_instructions(MainLoop.run, adaptive=True)]
"""
CALLS = 10


def counted(host, send):
    """Return the names of the functions that ran between the answer of `begin` and the handler of `end`."""
    assert host.call("begin").result is None
    send()
    names = host.call("end").result
    # The tail of `begin` and the head of `end`.
    assert names[0] in ("encode", "succeed")
    assert names[-1] == "end"
    return names


PER_CALL = ["decode", "check", "small", "encode"]  # grows only with a reason: each function takes about 0.1 us


def test_a_call_that_is_sent_alone_runs_few_functions(start):
    host = start(COUNTED)
    empty = counted(host, lambda: None)
    names = counted(host, lambda: [host.call("small", x=1, text="a") for _ in range(CALLS)])
    assert len(names) - len(empty) == CALLS * len(PER_CALL), names


TYPED = """
import dataclasses

@dataclasses.dataclass
class Item:
    sku: str
    price: float
    note: str | None = None

@app.command
def place(item: Item, count: int = 1):
    return item
"""
# One `convert` for the arguments and one for the item: the generated functions themselves test values of exact types.
BINDING = ["decode", "_parse_float", "check", "convert", "convert", "__init__"]
PER_TYPED_CALL = [*BINDING, "place", "encode", "form", "<lambda>"]


def test_a_typed_call_runs_few_functions(start):
    host = start(COUNTED + TYPED)
    item = {"sku": "a", "price": 1.5}
    assert host.call("place", item=item).result == {**item, "note": None}  # compiles the functions
    empty = counted(host, lambda: None)
    names = counted(host, lambda: [host.call("place", item=item) for _ in range(CALLS)])
    assert len(names) - len(empty) == CALLS * len(PER_TYPED_CALL), names


def test_calls_that_are_sent_together_run_few_functions(start):
    host = start(COUNTED, pipeline=CALLS)
    empty = counted(host, lambda: None)

    def send():
        packed = [host.pack_call("small", b'{"x":1}') for _ in range(CALLS)]
        host.calls.sendall(b"".join(frame for _, frame in packed))
        assert set(host.answers(CALLS)) == {wire_id for wire_id, _ in packed}

    names = counted(host, send)
    assert len(names) - len(empty) == CALLS * len(PER_CALL), names


def test_an_async_call_takes_one_iteration_and_no_second_callback(start):
    host = start(COUNTED.replace("def small", "async def small"))
    empty = counted(host, lambda: None)
    names = counted(host, lambda: [host.call("small", x=1, text="a") for _ in range(CALLS)])
    for name in ("_run_once", "on_call", "decode", "check", "run_async", "encode"):
        assert names.count(name) - empty.count(name) == CALLS, (name, names)
    assert not {"task_done", "_join", "_decode_long"} & set(names), names
    assert len(names) - len(empty) <= CALLS * 48, names


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 does not specialize instructions")
def test_the_loop_runs_specialized_instructions(start):
    """A loop that ends with a conditional jump never makes Python 3.11 specialize the function around it."""
    host = start(COUNTED)
    for _ in range(64):
        host.call("small", x=1)
    assert "LOAD_ATTR_SLOT" in host.call("instructions").result


def test_no_context_of_decimal_is_copied_without_decimal(start):
    host = start(COUNTED)
    names = counted(host, lambda: host.call("small", x=1))
    assert "copy_for_call" not in names
