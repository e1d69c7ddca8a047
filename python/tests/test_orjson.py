"""Arguments and results are the same with and without orjson: values, bytes and errors."""

import copy
import dataclasses
import datetime as dt
import enum
import json
import math
import random
import struct
import sys
import uuid
from typing import NamedTuple

import pytest

import herder
from herder import codec, orjson_codec
from herder.errors import CallRejection
from host import SOURCE, FakeHost
from result_table import FORMS

orjson = pytest.importorskip("orjson")

decode, encode = herder.App()._codec()
exact_encode = herder.App()._encode()


def test_this_version_of_orjson_is_used():
    assert decode is not codec.decode and encode.__module__ == "herder.orjson_codec"


def outcome(function, argument):
    """Return the repr of a value, which tells `1`, `1.0`, `True`, `-0.0` and the order of keys apart, or the error."""
    try:
        return repr(function(argument))
    except CallRejection as refused:
        return refused.kind, refused.message, refused.type


def assert_same_value(payload):
    expected = outcome(codec.decode, payload)
    assert outcome(decode, payload) == expected, payload[:200]
    assert outcome(decode, memoryview(payload)) == expected, payload[:200]


def assert_same_text(value):
    for given in (value, {"value": value}, [None, value], {"a": [{"b": (value, None)}]}):
        assert outcome(encode, given) == outcome(exact_encode, given)


# --- arguments --------------------------------------------------------------------------------------------------------

ROWS = b"[" + b'{"id": 7, "text": "7.5 m", "none": null}, ' * 40
DIGITS = [b"%s%s" % (sign, b"9" * n) for n in (17, 18, 19, 20, 21, 50, 5000) for sign in (b"", b"-")]
EDGES = [b"%d" % (sign * (2**power + more)) for power in (53, 63, 64, 70) for more in (-1, 0, 1) for sign in (1, -1)]
FRACTIONS = b"0.%s %s.5 1e%s5 1E-0000000000000000000007" % (b"123456789" * 3, b"9" * 25, b"0" * 30)
UNUSUAL_NUMBERS = b"1e400 -1e400 1e-400 -0 -0.0 01 1. .5 +1 1e 0x1"
NUMBERS = [*DIGITS, *EDGES, *FRACTIONS.split(), *UNUSUAL_NUMBERS.split()]
TEXTS = [
    rb'"\ud800"',
    rb'"\ude00\ud83d"',
    rb'"\ud83d\u0041"',
    rb'"\ud83d\ude00\u0000\/\b"',
    rb'"\x41"',
    b'"\t"',
    b'"\x7f"',
    b'"\xff"',
    b'"\xed\xa0\x80"',
    b'"\xc0\x80"',
    b'"12345678901234567890123"',
    '"\u00e4\u2028\U0001f600\ufeff"'.encode(),
]
OTHERS = b"NaN;-Infinity;nul;[1,];[1 2];{1: 2};'a';// a\n1;1\x00;\x0b1;\xa01; \t\r\n1 \n;; ".split(b";")
OBJECTS = [b'{"a": 1, "b": 2, "a": 3}', rb'{"a": 1, "\u0061": 2}', b'{"a": 1,}', b'{"\xff": 1}', b'{"": {}, "-0": -0}']


@pytest.mark.parametrize("texts", [NUMBERS, TEXTS, OTHERS, OBJECTS], ids=["numbers", "texts", "others", "objects"])
def test_arguments_are_decoded_alike(texts):
    for text in texts:
        for payload in (text, b"[1, %s]" % text, b'{"a": %s}' % text, b'{"a": "%s", "b": %s}' % (b"x" * 2000, text)):
            assert_same_value(payload)
            assert_same_value(b"\xef\xbb\xbf" + payload)
        assert_same_value(ROWS + text + b"]")


@pytest.mark.parametrize("levels", [1, 253, 254, 255, 256, 500, 900, 1000, 1023, 1024, 1025, 5000])
def test_nested_arguments_are_decoded_alike(levels):
    """The standard library reads about 1000 levels, orjson 1024, and writes 254."""
    for begin, end in ((b"[", b"]"), (b'{"a":', b"}"), (b'[1, {"a": ', b"}]")):
        assert_same_value(begin * levels + b"1" + end * levels)


def random_text(pick):
    alphabet = [
        "a",
        "-",
        "e-5",
        "0.00001",
        "null",
        '"',
        "\\",
        "\n",
        "\x00",
        "\x7f",
        "\u00e4",
        "\u20ac",
        "\U0001f600",
        "9" * 19,
    ]
    return "".join(pick.choices(alphabet, k=pick.randrange(8)))


def random_number(pick):
    return pick.choice(
        [
            pick.randint(-9, 9),
            pick.randint(-(2**65), 2**65),
            pick.choice([1, -1]) * 2 ** pick.randrange(62, 66) + pick.randint(-2, 2),
            pick.uniform(-1, 1),
            pick.choice([1, -1]) * pick.random() * 10.0 ** pick.randint(-12, 20),
            float(f"{pick.randint(1, 99)}e{pick.randint(-12, 20)}"),
            struct.unpack("<d", pick.randbytes(8))[0],
            float(pick.randint(-(2**60), 2**60)),
        ]
    )


def random_json(pick, depth=3):
    """Return a value that JSON has, except some numbers."""
    kind = pick.randrange(8 if depth else 5)
    if kind < 3:
        return pick.choice([None, True, False, random_text(pick), random_number(pick)])
    if kind < 5:
        return random_text(pick) if kind == 3 else random_number(pick)
    parts = [random_json(pick, depth - 1) for _ in range(pick.randrange(5))]
    if kind == 5:
        return {random_text(pick): each for each in parts}
    return tuple(parts) if pick.random() < 0.1 else parts


PARTS = [b"", b"", *rb'" \ - e [ { , \ud800'.split(), b"9" * 19, b"\xff"]


def broken(pick, text):
    """Return the text with a few bytes removed, doubled, replaced or inserted."""
    text = bytearray(text)
    for _ in range(pick.randint(1, 3)):
        at = pick.randrange(len(text) + 1)
        part = pick.choice([*PARTS, bytes(text[at : at + 9]) * 2])
        text[at : at + pick.randrange(3)] = part
    return bytes(text)


def test_random_arguments_are_decoded_alike():
    pick = random.Random(20)
    for _ in range(2000):
        value = random_json(pick)
        text = json.dumps(value, ensure_ascii=pick.random() < 0.5, indent=pick.choice([None, None, 1])).encode()
        padded = json.dumps({"pad": "x" * 1024}).encode()[:-1] + b', "value": ' + text + b"}"
        for payload in (text, padded, broken(pick, text)):
            assert_same_value(payload)


# --- results ----------------------------------------------------------------------------------------------------------


class Str(str):
    pass


class Int(int):
    pass


class Float(float):
    pass


class Dict(dict):
    pass


class Point(NamedTuple):
    x: int


class Plain(enum.Enum):
    NUMBER = 1e-5
    NAN = math.nan


class Converted(enum.Enum):
    A = "value"

    def __json__(self):
        return "form"


class Labelled(str, enum.Enum):
    """As a `str`, it is not its value."""

    A = "text"

    def __new__(cls, text):
        member = str.__new__(cls, text)
        member._value_ = "value"
        return member


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Line:
    price: float
    at: object = None


@dataclasses.dataclass
class Buffer(bytearray):
    a: int = 1

    def __json__(self):
        return "form"


NOT_FINITE = [math.nan, math.inf, -math.inf, -math.nan, [1.5, math.nan], {"a": None, "b": math.inf}]
BOUNDS = [2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 2**70, 10**5000]
SMALL = [
    sign * digits * 10.0**power
    for power in range(-12, 20)
    for digits in (1, 1.5, 9.999999999999999)
    for sign in (1, -1)
]
UNUSUAL = [5e-324, 1.7976931348623157e308, 0.0, -0.0, 1e16, 10.00001, 100.00001234, 0.00009999999999999999]
STRINGS = [
    "".join(map(chr, range(0x800))),
    "\ud800",
    "a\udfff",
    "null",
    "0.00001",
    "1e-5",
    'e-5"0.00001\\',
    "\u2028\U0001f600",
    "x" * 3000,
]
KEYS = [
    {1: 2},
    {1.5: 1},
    {None: 1},
    {True: 1},
    {1: 1, "1": 2},
    {Str("a"): 1},
    {Level.HIGH: 1},
    {"\ud800": 1},
    {(1,): 1},
    {uuid.UUID(int=1): 1},
]
OBJECTS_OF_TYPES = [
    Str("a"),
    Int(1),
    Float(1e-5),
    Float("nan"),
    Dict(a=1),
    Point(1),
    Line(1.5),
    Line(math.nan),
    Buffer(),
    *Plain,
    *Converted,
    *Labelled,
    *Level,
]
FOREIGN = [
    dt.datetime(2024, 5, 1),
    dt.date(2024, 5, 1),
    dt.time(1),
    uuid.UUID(int=1),
    b"a",
    bytearray(b"a"),
    memoryview(b"a"),
    {1},
    frozenset(),
    1j,
    ...,
    StopIteration,
    orjson.Fragment(b"1"),
    object(),
    print,
    iter([]),
]


@pytest.mark.parametrize(
    "values",
    [
        NOT_FINITE,
        BOUNDS,
        SMALL,
        UNUSUAL,
        STRINGS,
        KEYS,
        OBJECTS_OF_TYPES,
        FOREIGN,
        [value for value, _ in FORMS.values()],
    ],
    ids=["not finite", "bounds", "small", "unusual", "strings", "keys", "objects", "foreign", "forms"],
)
def test_results_are_encoded_alike(values):
    for value in values:
        assert_same_text(value)


def test_results_of_numpy_are_encoded_alike():
    numpy = pytest.importorskip("numpy")
    for value in (
        numpy.arange(3),
        numpy.float64(1e-5),
        numpy.float64("nan"),
        numpy.bool_(True),
        numpy.array([None, 1j]),
    ):
        assert_same_text(value)


@pytest.mark.parametrize("levels", [253, 254, 255, 900, 2001, 100_000])
def test_nested_results_are_encoded_alike(levels):
    value, cycle = None, []
    for _ in range(levels):
        value = [value]
    cycle.append(cycle)
    assert outcome(encode, value) == outcome(exact_encode, value)
    assert outcome(encode, cycle) == outcome(exact_encode, cycle)


def test_random_results_are_encoded_alike():
    pick = random.Random(21)
    for _ in range(3000):
        value = random_json(pick)
        if pick.random() < 0.2:
            value = [value, pick.choice(KEYS + OBJECTS_OF_TYPES + FOREIGN)]
        assert_same_text(value)


def test_all_characters_are_encoded_alike():
    characters = [chr(each) for each in [*range(0xD800), *range(0xE000, 0x110000, 7)]]
    assert encode(["".join(characters)]) == exact_encode(["".join(characters)])


@pytest.mark.parametrize("nan", ["error", "null"])
def test_apps_with_encoders_and_nan_are_encoded_alike(nan):
    app = herder.App(nan=nan)
    app.encoder(Level)(lambda level: level.name)
    app.encoder(uuid.UUID)(lambda each: each.int)
    app.encoder(Plain)(lambda each: each.name)
    quick, exact = app._codec()[1], app._encode()
    assert quick.__module__ == "herder.orjson_codec"
    for value in [*NOT_FINITE, *OBJECTS_OF_TYPES, *FOREIGN, *KEYS, *SMALL]:
        for given in (value, [value, None], {"a": value}):
            assert outcome(quick, given) == outcome(exact, given)


def test_code_of_values_runs_as_often_as_without_orjson():
    class Counting:
        def __init__(self):
            self.count = 0

        def __json__(self):
            self.count += 1
            return [None, 1e-5]

    class Valued(enum.Enum):
        A = 1

        @property
        def value(self):
            raise AssertionError("the form of an enum is not its attribute `value`")

    for value in ([Counting(), None], {"a": Counting(), (1,): 2}):
        other = copy.deepcopy(value)
        assert outcome(encode, value) == outcome(exact_encode, other)
        first, second = (each[0] if type(each) is list else each["a"] for each in (value, other))
        assert first.count == second.count > 0
    assert encode([Valued.A]) == b"[1]"


# --- which orjson is used ---------------------------------------------------------------------------------------------

APP = """
import sys
import herder
app = herder.App()

@app.on_start
def record(): app.state.before = set(sys.modules)

@app.command
DEFINE get(x): return [x, "orjson" in sys.modules, type(x).__name__]

@app.command
def imported(): return sorted(set(sys.modules) - app.state.before)
"""


@pytest.fixture
def worker(tmp_path):
    """A function that starts a worker in a folder with the given files."""
    hosts = []

    def start(define="def", files=(), head=""):
        for name, source in files:
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(source)
        (tmp_path / "app.py").write_text(head + APP.replace("DEFINE", define))
        hosts.append(FakeHost(f"{tmp_path}/app.py:app", env={"PYTHONPATH": f"{SOURCE}:{tmp_path}"}))
        return hosts[-1].ready()

    yield start
    for host in hosts:
        host.__exit__()


@pytest.mark.parametrize("define", ["def", "async def"])
def test_workers_use_it(worker, define):
    host = worker(define)
    assert host.call("get", x=1.5).result == [1.5, True, "float"]
    assert host.call("get", x=2**70).result == [2**70, True, "int"]
    assert host.call("get", x=math.nan).error_kind == "malformed"
    # A hook may drop the rights to read the package, which is imported before.
    assert not [name for name in host.call("imported").result if name.startswith("herder")]


@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_it_is_not_used_with_a_limit_of_memory(worker, limit):
    """orjson ends the process if an allocation fails."""
    head = f"import resource\nresource.setrlimit(resource.{limit}, (1 << 33, 1 << 33))\n"
    assert worker(head=head).call("get", x=1).result == [1, False, "int"]


def test_long_texts_are_left_to_json():
    """orjson reserves a multiple of their size."""
    quick = orjson_codec.make_encode(orjson, lambda _: b"exactly", False)
    for long in ({"a": "x" * (2 << 20)}, "x" * (2 << 20), [{"a": 1.5}, *"x" * (1 << 20)]):
        assert quick(long) == b"exactly"
    assert orjson_codec.make_decode(orjson, lambda _: "exactly")(b'"%s"' % (b"x" * (1 << 20))) == "exactly"


@pytest.mark.parametrize("name", ["orjson.py", "orjson/__init__.py"])
def test_a_module_of_the_application_is_not_imported(worker, name):
    assert worker(files=[(name, "raise SystemExit")]).call("get", x=1).result == [1, False, "int"]


@pytest.mark.parametrize("name", ["uuid", "dataclasses", "datetime"])
def test_it_is_not_used_if_it_would_import_modules_of_the_application(worker, name):
    host = worker(files=[(f"{name}.py", "OWN = 1")], head=f"import {name}\n{name}.OWN\n")
    assert host.call("get", x=1).result == [1, False, "int"]
    # Otherwise, the standard library's module is found first.
    assert worker(files=[(f"{name}.py", "OWN = 1")]).call("get", x=1).result == [1, True, "int"]


@pytest.mark.parametrize("change", ["floats", "strings", "integers", "options"])
def test_a_version_that_writes_or_reads_other_values_is_not_used(monkeypatch, change):
    class Other:
        OPT_PASSTHROUGH_DATACLASS = OPT_PASSTHROUGH_DATETIME = OPT_PASSTHROUGH_SUBCLASS = 0

        @staticmethod
        def dumps(*arguments):
            old, new = {"floats": (b"e+", b"e"), "strings": (b"\\u001f", b"\\u001F")}.get(change, (b"\xff", b""))
            return orjson.dumps(*arguments).replace(old, new)

        @staticmethod
        def loads(text):
            return json.loads(text, parse_int=float) if change == "integers" else orjson.loads(text)

    monkeypatch.setitem(sys.modules, "orjson", Other)
    if change == "options":
        assert herder.App()._codec()[0] is not codec.decode
        monkeypatch.delattr(Other, "OPT_PASSTHROUGH_SUBCLASS")
    assert herder.App()._codec()[0] is codec.decode
    monkeypatch.setitem(sys.modules, "orjson", None)
    assert orjson_codec.make_codec(exact_encode, False) is None
