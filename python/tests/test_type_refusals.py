"""R72: annotations that cannot be honoured are refused when the app is loaded; converters never fail otherwise."""

import base64
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import json
import pathlib
import random
import socket
import sys
import typing
import uuid
from typing import Annotated, Any, Literal, NamedTuple

import pytest

import herder
from herder.binding import Command
from herder.codec import decode, encode
from herder.errors import CallRejection
from herder.results import Encoder, Rules
from herder.testing import CallError, Client

Meta = herder.Meta


class Weird(enum.Enum):
    PAIR = (1, 2)


class Empty(enum.Enum):
    pass


class Own:
    def __init__(self, x):
        self.x = x


@dataclasses.dataclass
class OtherInit:
    x: int

    def __init__(self, y):
        self.x = y


@dataclasses.dataclass
class Holder:
    sock: socket.socket


@dataclasses.dataclass
class Outer:
    inner: "list[Holder]"


@dataclasses.dataclass
class Missing:
    x: "Nowhere"  # noqa: F821


Loop = typing.Union["Loop", int]
MODEL = "a model of pydantic or msgspec, or no annotation"

REFUSED = [
    (socket.socket, f"parameter `value`: socket.socket cannot be read from JSON; write a standard type, .*{MODEL}"),
    (Own, "Own cannot be read from JSON"),
    (complex, "complex cannot be read from JSON"),
    (typing.Callable[[int], int], "Callable cannot be read from JSON"),
    (type[int], "type cannot be read from JSON"),
    (typing.Iterator[int], "Iterator cannot be read from JSON"),
    (collections.defaultdict[str, int], "collections.defaultdict cannot be read from JSON"),
    (typing.NoReturn, "NoReturn cannot be read from JSON"),
    (5, "5 cannot be read from JSON"),
    ([], r"\[\] cannot be read from JSON"),
    (list[socket.socket], "socket.socket cannot be read"),
    (list[herder.Session], "herder.session.Session cannot be read"),
    (int | socket.socket, "socket.socket cannot be read"),
    (Annotated[socket.socket, "text"], "socket.socket cannot be read"),
    (Outer, r"parameter `value` \(Holder.sock\): socket.socket cannot be read"),
    (Missing, r"\(Missing.x\): `Nowhere` is not defined"),
    (OtherInit, "OtherInit has an `__init__` that does not take exactly its fields, by name"),
    (Weird, "the value of Weird.PAIR is a tuple; use strings, integers, finite floats or None"),
    (Empty, "Empty has no members"),
    (Literal[Weird.PAIR], "is a tuple"),
    (set[list[int]], r"set\[list\[int\]\] cannot exist, since list\[int\] has no hash"),
    (frozenset[dict[str, int]], "has no hash"),
    (dict[bool, int], "keys of JSON objects are strings, and cannot become bool"),
    (dict[float, int], "cannot become float"),
    (dict[int | str, int], r"cannot become int\|str"),
    (dict[tuple[int, int], int], "cannot become"),
    (Annotated[str, Meta(gt=1)], "the constraint `gt` does not apply to str"),
    (Annotated[int, Meta(min_length=1)], "the constraint `min_length` does not apply to int"),
    (Annotated[int | str, Meta(min_length=1, gt=dt.date.min)], "the constraint `gt=.*` is invalid"),
    (Annotated[int | None, Meta(pattern="a")], "the constraint `pattern` does not apply to int"),
    (Annotated[int | bool, Meta(pattern="a")], "the constraint `pattern` applies to no member of the union"),
    (Annotated[Any, Meta(gt=1)], "the constraint `gt` does not apply to any"),
    (Annotated[int, Meta(gt="1")], "the constraint `gt='1'` is invalid"),
    (Annotated[int, Meta(gt=float("nan"))], "the constraint `gt=nan` is invalid"),
    (Annotated[dt.date, Meta(gt=dt.datetime.min)], "is invalid"),
    (Annotated[int, Meta(multiple_of=0)], "the constraint `multiple_of=0` is invalid"),
    (Annotated[str, Meta(pattern="(")], r"the constraint `pattern='\('` is invalid"),
    (Annotated[str, Meta(max_length=-1)], "the constraint `max_length=-1` is invalid"),
]


class Depends:
    """Resembles that of FastAPI."""

    dependency = None


Depends.__module__ = "fastapi.params"
REFUSED.append((Annotated[int, Depends()], "Depends of FastAPI is unknown to Herder; write herder.Depends"))
if sys.version_info >= (3, 11):  # Python 3.10 has no such names and no such syntax
    REFUSED.append((typing.Self, "`Self` has a meaning only in a class; write the name of the class"))
    REFUSED.append((typing.Unpack[tuple[int]], "`Unpack` is not supported; write a parameter for each key"))
    REFUSED.append((eval("tuple[int, *tuple[str, ...]]"), r"\*tuple\[str, ...\] cannot be read from JSON"))


def command_of(annotation):
    def handler(value):
        return value

    handler.__annotations__ = {"value": annotation}
    return Command("send", handler, False)


@pytest.mark.parametrize("annotation,reason", REFUSED, ids=lambda each: str(each)[:40])
def test_an_annotation_that_cannot_be_honoured_is_refused(annotation, reason):
    line = command_of.__code__.co_firstlineno + 1
    with pytest.raises(TypeError, match=reason) as refused:
        command_of(annotation)
    assert str(refused.value).startswith(f"command 'send' ({__file__}:{line}): parameter `value`")


def test_a_worker_with_such_an_annotation_does_not_start(start):
    host = start("import socket\n@app.command\ndef f(x: socket.socket): ...", wait=False)
    error = host.start_error()
    assert error["kind"] == "start_failed" and "command 'f'" in error["message"] and "`x`" in error["message"]
    assert "workers_0.py:5" in error["message"]


TYPED = """
import dataclasses, datetime, enum

class Color(enum.Enum):
    RED = "red"

@dataclasses.dataclass
class Item:
    name: str
    color: Color
    at: datetime.datetime

    def __post_init__(self):
        if self.name == "hang":
            while True: pass
        if self.name == "oops": raise OSError("disk")

@app.command
{how}def place(items: list[Item], session: herder.Session, call: herder.Call, limit: float = 1):
    return [[each.name, each.color is Color.RED, each.at.year] for each in items] + [session.id, call.id > 0, limit]

@app.command
def plain(): return 1
"""
ITEM = {"name": "a", "color": "red", "at": "2026-01-31"}


@pytest.fixture(params=["", "async "])
def typed_worker(start, request):
    return start(TYPED.format(how=request.param))


def test_a_worker_converts_arguments(typed_worker):
    assert typed_worker.call("place", items=[ITEM], limit=2, session="ann").result == [
        ["a", True, 2026],
        "ann",
        True,
        2.0,
    ]
    answer = typed_worker.call("place", items=[{**ITEM, "color": "blue", "at": 1}], session="ann", limit="x", call=1)
    assert answer.error_kind == "bad_arguments" and "unexpected argument 'call'" in answer.error["message"]
    answer = typed_worker.call("place", items=[{**ITEM, "color": "blue", "at": 1}], limit="x", session="ann")
    assert [(each["loc"], each["type"]) for each in answer.error["errors"]] == [
        (["items", 0, "color"], "enum"),
        (["items", 0, "at"], "datetime_type"),
        (["limit"], "float_type"),
    ]
    assert answer.error["message"] == "place: items[0].color: Input should be 'red' (and 2 more errors)"
    assert (answer.started, answer.ended) == (0, 0), "the handler has not run"
    assert typed_worker.call("place", items=[ITEM]).error_kind == "bad_arguments"


@pytest.mark.parametrize("wait", [False, True])
def test_the_test_client_converts_arguments_and_shows_the_errors(wait):
    app = herder.App()

    async def later(at: dt.date, kinds: list[Kind] = ()):
        return [at.year, len(kinds)]

    def now(at: dt.date, kinds: list[Kind] = ()):
        return [at.year, len(kinds)]

    app.command(name="place")(later if wait else now)
    with Client(app) as client:
        assert client.call("place", at="2026-01-31", kinds=["a", 2]) == [2026, 2]
        with pytest.raises(CallError, match="at: Input should be a valid date") as raised:
            client.call("place", at="x", kinds=["b"])
    assert [(each["loc"], each["type"]) for each in raised.value.errors] == [
        (["at"], "date_parsing"),
        (["kinds", 0], "enum"),
    ]


def test_an_exception_of_the_conversion_is_that_of_the_handler(typed_worker):
    """An `OSError` is not taken for one of the stream, and the traceback begins in the application."""
    answer = typed_worker.call("place", items=[{**ITEM, "name": "oops"}], session="ann")
    assert (answer.error_kind, answer.error["type"], answer.error["message"]) == ("exception", "OSError", "disk")
    assert "__post_init__" in answer.error["traceback"] and "typed" not in answer.error["traceback"]
    assert typed_worker.call("plain").result == 1


def test_a_conversion_can_be_interrupted(typed_worker):
    wire_id = typed_worker.send("place", items=[{**ITEM, "name": "hang"}], session="ann")
    while True:  # until the call runs
        typed_worker.cancel(wire_id, interrupt=True)
        if typed_worker.state() != (wire_id, 2):
            break
        assert typed_worker.answer().error_kind == "cancelled"
        wire_id = typed_worker.send("place", items=[{**ITEM, "name": "hang"}], session="ann")
    assert typed_worker.answer().error_kind == "cancelled"
    assert typed_worker.call("plain").result == 1


def test_a_worker_without_rich_types_imports_nothing_for_them(start, tmp_path):
    app = (
        "import herder, sys\napp = herder.App()\n"
        "@app.command\ndef loaded(x: int = 1, y: float | None = None, z: list = None): return sorted(sys.modules)\n"
    )
    (tmp_path / "plain.py").write_text(app)
    host = start(f"{tmp_path}/plain.py:app", arguments=["-S"])  # without orjson, which imports some of them
    loaded = host.call("loaded", y=1).result
    assert host.call("loaded", x="a").error["errors"] == [
        {"loc": ["x"], "msg": "Input should be a valid integer", "type": "int_type"}
    ]
    rich = {"typing", "dataclasses", "datetime", "decimal", "uuid", "pathlib", "herder.meta"}
    assert not [name for name in loaded if name in rich or name.startswith("herder.typed")]


# --- random values ----------------------------------------------------------------------------------------------------


class Place(NamedTuple):
    name: str
    at: dt.datetime


class Kind(enum.Enum):
    A = "a"
    TWO = 2


@dataclasses.dataclass
class Everything:
    number: int
    ratio: float
    text: str
    data: bytes
    kind: Kind
    at: dt.datetime
    day: dt.date
    hour: dt.time
    span: dt.timedelta
    id: uuid.UUID
    price: decimal.Decimal
    path: pathlib.PurePosixPath
    maybe: int | None
    both: "int | list[float]"
    sets: frozenset[int]
    table: dict[int, tuple[str, bool]]
    place: Place
    inner: "Everything | None" = None


def random_value(pick, depth=2):
    zone = dt.timezone(dt.timedelta(minutes=pick.randint(-1439, 1439))) if pick.random() < 0.5 else None
    at = dt.datetime(1, 1, 2) + dt.timedelta(seconds=pick.randint(0, 10**11), microseconds=pick.randint(0, 999999))
    at = at.replace(tzinfo=zone)
    return Everything(
        number=pick.randint(-(10**30), 10**30),
        ratio=pick.uniform(-1e9, 1e9),
        text="".join(chr(pick.randint(32, 0xD7FF)) for _ in range(pick.randint(0, 5))),
        data=pick.randbytes(pick.randint(0, 9)),
        kind=pick.choice(list(Kind)),
        at=at,
        day=at.date(),
        hour=at.timetz(),
        span=dt.timedelta(days=pick.randint(-1000, 1000), microseconds=pick.randint(0, 10**11)),
        id=uuid.UUID(int=pick.getrandbits(128)),
        price=decimal.Decimal(pick.randint(-(10**20), 10**20)).scaleb(pick.randint(-20, 20)),
        path=pathlib.PurePosixPath("/a", str(pick.random())),
        maybe=pick.choice([None, 3]),
        both=pick.choice([4, [1.5, 2.0]]),
        sets=frozenset(pick.randint(0, 9) for _ in range(3)),
        table={pick.randint(-9, 9): ("x", pick.random() < 0.5)},
        place=Place("p", at),
        inner=random_value(pick, depth - 1) if depth else None,
    )


def test_what_a_handler_returns_another_one_takes():
    """The forms of results and of parameters are the same."""
    command, to_json = command_of(Everything), Encoder(Rules({}), False).encode
    pick = random.Random(1)
    for _ in range(200):
        value = random_value(pick)
        assert command.call(value=decode(to_json(value))) == value


JUNK = [
    *(None, True, 0, -1, 10**400, 1.5, -0.0, 1e308, "", "a", "1", "\ud800", "\x00", "P" * 50, "2026-01-31", [], {}),
    *({"": 1}, {"a": {"b": [1]}}, [[[]]], ["\udfff"], {"\ud800": 1}, [None] * 60, "9" * 5000, "1e999999", "=" * 8),
    base64.b64encode(b"x").decode(),
]


def mutated(pick, value):
    """Return a JSON value with some parts replaced."""
    if pick.random() < 0.1:
        return pick.choice(JUNK)
    if isinstance(value, list):
        return [mutated(pick, each) for each in value if pick.random() > 0.05]
    if isinstance(value, dict):
        return {key if pick.random() > 0.05 else "other": mutated(pick, each) for key, each in value.items()}
    return value


def test_a_converter_either_converts_or_refuses():
    """Whatever the value: no other exception, and errors that can be encoded."""
    to_json = Encoder(Rules({}), False).encode
    pick = random.Random(2)
    kinds = [
        Everything,
        list[Everything],
        Everything | Place | None,
        dict[Kind, Everything],
        Annotated[str, Meta(gt=1)],
    ]
    commands = [command_of(each) for each in kinds[:-1]]
    refused = 0
    for _ in range(300):
        value = mutated(pick, decode(to_json(random_value(pick, 1))))
        if pick.random() < 0.2:
            value = pick.choice(JUNK)
        for command in commands:
            try:
                command.call(value=value)
            except CallRejection as rejection:
                refused += 1
                assert rejection.errors and len(rejection.errors) <= 50
                assert all(each["loc"][0] == "value" for each in rejection.errors)
                json.loads(encode({"message": rejection.message, "errors": rejection.errors}))
    assert refused > 300


@pytest.mark.parametrize(
    "annotation", [int, list[dt.datetime], Everything, Kind, decimal.Decimal, dict[uuid.UUID, Place]]
)
def test_junk_is_refused(annotation):
    command = command_of(annotation)
    for value in JUNK:
        arguments = {"value": value}
        try:
            command.check(arguments)
            command.call(**arguments)
        except CallRejection:
            pass


def test_the_limit_of_recursion_is_no_other_error():
    """At every depth around the limit, the value is converted or refused."""

    @dataclasses.dataclass
    class Chain:
        next: "list[Chain]"

    command = command_of(Chain)
    outcomes = set()
    for depth in range(50, 700, 7):
        value = {"next": []}
        for _ in range(depth):
            value = {"next": [value]}
        try:
            command.call(value=value)
            outcomes.add("converted")
        except CallRejection as rejection:
            outcomes.add(rejection.errors[0]["type"])
    assert outcomes == {"converted", "nested_too_deeply"}
    assert sys.getrecursionlimit() >= 1000
