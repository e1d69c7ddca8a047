"""Results of types that JSON does not have: their forms, and the errors of those without one."""

import array
import collections
import dataclasses
import gc
import json
import os
import socket
import subprocess
import sys
import unittest.mock
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest

import herder
from herder.errors import CallRejection
from herder.testing import CallError, Client
from result_table import FORMS, ID, Access, Level, Line, Money, Order, Point, Text, Zone


def encoded(value, app=None):
    """Return the form of a result, which is the same with orjson, if that is installed."""
    app = app or herder.App()
    text = app._encode()(value)
    assert app._codec()[1](value) == text
    return json.loads(text)


def refusal(value, app=None):
    """Return the message with which a result is refused, also with orjson. The next result must not be affected."""
    app = app or herder.App()
    messages = set()
    for encode in (app._encode(), app._codec()[1]):
        with pytest.raises(CallRejection) as raised:
            encode(value)
        assert raised.value.kind == "unencodable" and encode([1]) == b"[1]"
        messages.add(raised.value.message)
    [message] = messages
    return message


@pytest.mark.parametrize("name", FORMS)
def test_a_type_has_a_form(name):
    value, form = FORMS[name]
    assert encoded(value) == form
    assert encoded({"list": [value, value]}) == {"list": [form, form]}
    app = herder.App()
    app.command(name="get")(lambda: value)
    with Client(app) as client:
        assert client.call("get") == form


def test_the_walk_and_the_c_code_agree():
    """The walk is Python, and encodes all results of an app with an encoder for a subclass of a type that JSON has."""
    app = herder.App()

    class Other(dict):
        pass

    app.encoder(Other)(lambda other: None)
    for name, (value, form) in FORMS.items():
        assert encoded(value, app) == form, name
    assert encoded([Other(a=1)], app) == [None]
    assert "result[0]: NaN" in refusal([float("nan")], app)
    cycle = []
    cycle.append(cycle)
    assert refusal(cycle, app) == "Circular reference detected"


TABLE = """
import json, sys
sys.path[:0] = {paths!r}
import herder, result_table
encode = herder.App()._encode()
forms = {{name: encode(value).decode() for name, (value, _) in result_table.FORMS.items()}}
print(json.dumps([forms, [each for each in {packages!r} if each in sys.modules]]))
"""
PACKAGES = ["numpy", "pandas", "pydantic", "msgspec", "attrs"]


def test_a_type_has_the_same_form_whatever_is_installed():
    """In a process without any packages, and in this one after it has imported all that are installed."""
    paths = [os.path.dirname(os.path.dirname(herder.__file__)), os.path.dirname(__file__)]
    code = TABLE.format(paths=paths, packages=PACKAGES)
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    forms, imported = json.loads(done.stdout)
    assert imported == []
    for name in PACKAGES:
        try:
            __import__(name)
        except ImportError:
            pass
    encode = herder.App()._encode()
    assert {name: encode(value).decode() for name, (value, _) in FORMS.items()} == forms


def test_results_import_nothing():
    """A worker must not import modules for results: it may have dropped the rights to read them."""
    code = """
import sys
import herder
encode = herder.App()._encode()
before = set(sys.modules)
encode({"a": [1, "b"]}), encode({1, 2}), encode(b"x")
try:
    encode(object())
except Exception:
    pass
print(sorted(set(sys.modules) - before), sorted({"typing", "dataclasses", "datetime", "enum"} & set(sys.modules)))
"""
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(herder.__file__))}
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout == "[] ['enum']\n", done.stderr  # `re` needs enum


# --- encoders of the app ----------------------------------------------------------------------------------------------


class Base:
    pass


class Derived(Base):
    pass


@dataclasses.dataclass
class Pair(Base):
    a: int


class Coordinates(NamedTuple):
    x: int
    y: int


def test_the_encoder_of_the_nearest_class_is_preferred():
    app = herder.App()
    app.encoder(Base)(lambda base: "base")
    assert encoded([Base(), Derived(), Pair(1)], app) == ["base"] * 3
    app = herder.App()
    app.encoder(object)(lambda other: type(other).__name__)
    app.encoder(Base)(lambda base: "base")
    app.encoder(Derived)(lambda derived: Line("tea", date(2024, 5, 1)))
    app.encoder(datetime)(lambda at: at.timestamp())
    app.encoder(Money)(lambda money: money.cents)
    value = [Base(), Derived(), Money(5), datetime.fromtimestamp(5), date(2024, 5, 1), socket]
    line = {"sku": "tea", "price": "2024-05-01", "note": ""}
    assert encoded(value, app) == ["base", line, 5, 5.0, "2024-05-01", "module"]


def test_an_encoder_for_a_subclass_of_a_json_type():
    app = herder.App()
    app.encoder(Coordinates)(Coordinates._asdict)
    app.encoder(Level)(lambda level: level.name)
    value = {"at": [Coordinates(1, 2)], "level": Level.HIGH, "id": ID, Level.HIGH: Point(1, 2), "plain": 1}
    form = {"at": [{"x": 1, "y": 2}], "level": "HIGH", "id": str(ID), "HIGH": [1, 2], "plain": 1}
    assert encoded(value, app) == form


def test_an_encoder_is_used_for_keys():
    app = herder.App()
    app.encoder(Money)(lambda money: money.cents)
    assert encoded({Money(5): Money(6)}, app) == {"5": 6}


@pytest.mark.parametrize(
    "encoder,message",
    [
        (
            lambda base: base,
            "result.a: a value of type Base cannot be encoded as JSON: its encoder returned it unchanged",
        ),
        (lambda base: Base(), "result.a: a value of type Base cannot be encoded as JSON: its form needs a form itself"),
        (lambda base: [base], "Circular reference detected"),
        (lambda base: [Base()], "the value is nested too deeply or contains itself"),
        (
            lambda base: base.missing,
            "result.a: a value of type Base cannot be encoded as JSON: AttributeError: 'Base' obj",
        ),
        (lambda: 1, "result.a: a value of type Base cannot be encoded as JSON: TypeError"),
        (lambda base: iter(()), "result.a: a value of type tuple_iterator cannot be encoded as JSON; "),
        (lambda base: {"b": [socket]}, "result.a.b[0]: a value of type module cannot be encoded as JSON; "),
        (lambda base: sys.exit(3), "3"),
        (lambda base: "\ud800", "result.a: a string contains an unpaired surrogate, which is not valid text"),
        (
            lambda base: float("nan"),
            "result.a: NaN and infinities cannot be encoded as JSON; return None, or create the app",
        ),
    ],
)
def test_an_encoder_that_fails(encoder, message):
    app = herder.App()
    app.encoder(Base)(encoder)
    assert refusal({"a": Base()}, app).startswith(message)


async def waits(value):
    return value


@pytest.mark.parametrize(
    "kind,function,error",
    [
        (dict, repr, TypeError),
        (bool, repr, TypeError),
        (type(None), repr, TypeError),
        ("Base", repr, TypeError),
        (list[int], repr, TypeError),
        (Base, waits, TypeError),
        (Derived, repr, ValueError),
    ],
)
def test_an_encoder_that_cannot_be_registered(kind, function, error):
    app = herder.App()
    app.encoder(Derived)(repr)
    with pytest.raises(error):
        app.encoder(kind)(function)


FORKS = """
import os
read, write = os.pipe()
class Forks: pass
class Marks: pass

@app.encoder(Forks)
def forks(value):
    child = os.fork()
    return os.waitpid(child, 0)[1] if child else "child"

@app.encoder(Marks)
def marks(value): return os.write(write, b"x")

@app.command
def get(): return [Forks(), Marks()]

@app.command
def count(): return len(os.read(read, 9))
"""


def test_the_child_of_a_fork_in_an_encoder_ends(start):
    """It must not go on as a second worker, nor encode the rest."""
    host = start(FORKS)
    assert host.call("get").result == [0, 1]
    assert host.call("count").result == 1


# --- NaN --------------------------------------------------------------------------------------------------------------

NAN, INFINITY = float("nan"), float("inf")


def test_nan_is_refused_or_null():
    for value, place in [
        (NAN, "result"),
        ([1.5, -INFINITY], "result[1]"),
        ({"a b": Decimal("NaN")}, "result['a b']"),
        (Line("tea", Decimal("-Infinity")), "result.price"),
        ({"x": Decimal("sNaN")}, "result.x"),
        (array.array("f", [NAN]), "result[0]"),
    ]:
        assert (
            refusal(value)
            == f'{place}: NaN and infinities cannot be encoded as JSON; return None, or create the app with nan="null"'
        )
    assert "NaN" in refusal({NAN: 1})
    app = herder.App(nan="null")
    value = ["NaN", NAN, 'a"NaN\\', "\\", -INFINITY, {"-Infinity": INFINITY, "\n": Decimal("NaN")}, Line("[NaN,", NAN)]
    form = [
        "NaN",
        None,
        'a"NaN\\',
        "\\",
        None,
        {"-Infinity": None, "\n": None},
        {"sku": "[NaN,", "price": None, "note": ""},
    ]
    assert encoded(value, app) == form
    assert encoded({ID: NAN}, app) == {str(ID): None}
    assert refusal([NAN, socket], app).startswith("result[1]: a value of type module")
    with pytest.raises(ValueError, match="expected 'error' or 'null'"):
        herder.App(nan=None)


def test_the_arguments_of_a_call_and_errors_do_not_follow_the_app():
    app = herder.App(nan="null")
    app.command(name="get")(lambda x: x)
    with Client(app) as client, pytest.raises(CallError) as raised:
        client.call("get", x=NAN)
    assert raised.value.kind == "malformed"


# --- values without a form, and hostile ones --------------------------------------------------------------------------


class Lies:
    """Looks like a dict to `isinstance`."""

    __class__ = dict


class Meta(type):
    def __getattr__(cls, name):
        return lambda *_: {"made": "up"}


class MadeUp(metaclass=Meta):
    pass


class Raises:
    def __json__(self):
        raise LookupError("no form today")


class Recurses:
    def __json__(self):
        return self.__json__()


@dataclasses.dataclass
class Property:
    price: Any = 1

    @property
    def total(self):
        raise AssertionError("no field")


class WithRaisingProperty(Property):
    price = property(lambda self: 1 // 0, lambda self, value: None)


@dataclasses.dataclass
class Slots:
    __slots__ = ("a", "b")
    a: int
    b: int


class BrokenZone(Zone):
    def utcoffset(self, _):
        raise OSError("no zone")


class Grows(dict):
    def items(self):
        for key in self:
            self[key + key] = 1
            yield key, 1


class RaisingSort:
    def __lt__(self, _):
        raise ValueError("no order")

    def __json__(self):
        return 1


def without_b():
    slots = Slots(1, 2)
    del slots.b
    return slots


def deep(value, levels):
    for _ in range(levels):
        value = [value]
    return value


def cycle():
    order = Order(datetime.min, [])
    order.lines.append({"order": order})
    return order


REFUSED = {
    "object": (
        {"a": [{"b": object()}]},
        "result.a[0].b: a value of type object cannot be encoded as JSON; convert it, or register @app.encoder(object)",
    ),
    "path": (
        Order(datetime.min, [Line("tea", socket.SOCK_DGRAM), Line("tea", Base())]),
        "result.lines[1].price: a value of type Base",
    ),
    "socket": (socket.socket.__new__(socket.socket), "or register @app.encoder(socket.socket)"),
    "class": (Line, "result: a value of type type cannot be encoded as JSON; return an object of it"),
    "generator": (
        {"a": (each for each in ())},
        "result.a: a value of type generator cannot be encoded as JSON; return a list of its items",
    ),
    "map": (map(str, ()), "return a list of its items"),
    "lying class": (Lies(), "result: a value of type Lies cannot be encoded as JSON"),
    "made up attributes": (MadeUp(), "result: a value of type MadeUp"),
    "mock": (unittest.mock.MagicMock(), "result: a value of type MagicMock"),
    "complex": (1j, "result: a value of type complex"),
    "exception": (ValueError("x"), "result: a value of type ValueError"),
    "raising __json__": (
        [Raises()],
        "result[0]: a value of type Raises cannot be encoded as JSON: LookupError: no form today",
    ),
    "recursive __json__": ([Recurses()], "the value is nested too deeply or contains itself"),
    "raising property": (
        WithRaisingProperty(),
        "result: a value of type WithRaisingProperty cannot be encoded as JSON: ZeroDivisionError",
    ),
    "missing slot": ([without_b()], "result[0]: a value of type Slots cannot be encoded as JSON: AttributeError: "),
    "raising time zone": (
        {"at": datetime(2024, 5, 1, tzinfo=BrokenZone())},
        "result.at: a value of type datetime cannot be encoded as JSON: OSError",
    ),
    "cycle of dataclasses": (cycle(), "Circular reference detected"),
    "too deep": (deep(ID, 100_000), "the value is nested too deeply or contains itself"),
    "a value that grows": (Grows(a=1), "dictionary changed size during iteration"),
    "surrogate": ({"a": ["\ud800"]}, "result.a[0]: a string contains an unpaired surrogate, which is not valid text"),
    "surrogate in a path": (Path("\udcff"), "result: a string contains an unpaired surrogate"),
    "surrogate in a key": ({"a": {"\ud800": 1}}, "result.a: a string contains an unpaired surrogate"),
    "tuple as a key": ({"a": {(1, 2): 3}}, "result.a: keys must be str, int, float, bool or None, not tuple"),
    "dataclass as a key": ({Order(1, 2): 3}, "result: keys must be str, int, float, bool or None, not Order"),
    "object as a key": ({Base: 3}, "result: keys must be str, int, float, bool or None, not type"),
    "equal keys": ({ID: 1, "a": {str(ID): 1, ID: 2}}, "result.a: two keys have the form '12345678-1234"),
    "long key": ({"x" * 9999: [object()]}, "result." + "x" * 64 + "[0]: a value"),
    "hostile key": ({"a\n": {1: [object()]}}, "result['a\\n'][1][0]: a value"),
    "too many digits": ({"a": [{ID: 1}, 10**5000]}, "result.a[1]: Exceeds the limit"),
    "path after others": ({"a": [1], "b": {"c": (2,)}, "d": object()}, "result.d: a value of type object"),
    "long path": (deep(object(), 200), "result" + "[0]" * 16 + "..." + "[0]" * 16 + ": a value"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_value_without_a_form_is_refused_with_its_place(name):
    value, message = REFUSED[name]
    found = refusal(value)
    assert found.startswith(message) if message.startswith("result") else message in found
    assert len(found) < 400


def test_a_set_without_an_order_is_a_list():
    assert sorted(encoded({1, "a"}), key=str) == [1, "a"]
    assert encoded({RaisingSort(), RaisingSort()}) == [1, 1]


def test_types_without_end_are_not_kept():
    encode = herder.App()._encode()
    for _ in range(3000):
        assert encode(dataclasses.make_dataclass("Made", ["a"])(1)) == b'{"a":1}'
    gc.collect()
    assert sum(type(each) is type and each.__name__ == "Made" for each in gc.get_objects()) < 1500


def test_a_value_that_changes_while_it_is_encoded():
    items = [1]

    class Appends:
        def __json__(self):
            if len(items) < 5:
                items.append(Appends())
            return len(items)

    items.append(Appends())
    assert herder.App()._codec()[1](items) == b"[1,3,4,5,5]"


def test_an_error_that_the_second_pass_does_not_meet_is_kept():
    class Once:
        raised = False

        def __json__(self):
            if not Once.raised:
                Once.raised = True
                raise LookupError("the first time")
            return 1

    with pytest.raises(CallRejection, match=r"^the first time$"):
        herder.App()._codec()[1]([Once()])


@pytest.mark.parametrize("command", ["get", "a_get"])
def test_results_of_both_loops(start, command):
    """The loop of apps without async handlers, and that of apps with some."""
    source = [
        "import dataclasses, datetime",
        "class Money:",
        "    def __init__(self, cents): self.cents = cents",
        "@app.encoder(Money)",
        "def money(value): return {'cents': value.cents}",
        "@dataclasses.dataclass",
        "class Item: at: object; price: object",
        "@app.command",
        "def get(bad: bool): return [Item(datetime.date(2024, 5, 1), object() if bad else Money(5))]",
    ]
    if command == "a_get":
        source += ["@app.command", "async def a_get(bad: bool): return get(bad)"]
    host = start("\n".join(source))
    for _ in range(2):
        assert host.call(command, bad=False).result == [{"at": "2024-05-01", "price": {"cents": 5}}]
        refused = host.call(command, bad=True)
        assert (
            refused.error_kind == "unencodable"
            and "result[0].price: a value of type object" in refused.error["message"]
        )


PARAMETERS = {
    "dataclass": Line,
    "nested dataclass": Order,
    "datetime": datetime,
    "datetime in UTC": datetime,
    "date": date,
    "time": time,
    "time in UTC": time,
    "no time": timedelta,
    "timedelta": timedelta,
    "minutes": timedelta,
    "negative timedelta": timedelta,
    "longest timedelta": timedelta,
    "UUID": UUID,
    "Decimal": Decimal,
    "large Decimal": Decimal,
    "str Enum": Text,
    "IntEnum": Level,
    "Flag": Access,
    "set": set[int],
    "frozenset": frozenset[UUID],
    "tuple": tuple[int, UUID],
    "NamedTuple": Point,
    "bytes": bytes,
    "bytearray": bytearray,
    "Path": Path,
    "deque": collections.deque,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_form_is_read_by_a_parameter_of_the_type(name):
    """What one command returns, another one takes."""
    value, form = FORMS[name]
    received = []
    app = herder.App()

    def take(x):
        received.append(x)
        return x

    take.__annotations__ = {"x": PARAMETERS[name]}
    app.command(take)
    with Client(app) as client:
        assert client.call("take", x=form) == form
    if name not in ("dataclass", "nested dataclass", "NamedTuple"):  # they have fields of the type Any
        assert received == [value] and type(received[0]) is type(value)
