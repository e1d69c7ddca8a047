"""Annotations, values, and what handlers get: the tables of `test_types`."""

import collections
import collections.abc as abc
import dataclasses
import datetime as dt
import decimal
import enum
import ipaddress
import pathlib
import typing
import uuid
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypedDict, TypeVar, Union

import herder

T = TypeVar("T")
UTC = dt.timezone.utc
AS_DATETIME = "2026-01-31T08:40:00Z"
ID = "12345678-1234-5678-1234-567812345678"
UserId = NewType("UserId", int)
Json = Union[dict[str, "Json"], list["Json"], str, float, int, bool, None]
Pair = collections.namedtuple("Pair", "a b")


class Color(enum.Enum):
    RED = "red"
    CRIMSON = "red"  # noqa: PIE796
    ONE = 1
    NULL = None


class Level(enum.IntEnum):
    LOW = 1


class Perm(enum.Flag):
    READ = 1
    WRITE = 2


class Size(str, enum.Enum):
    SMALL = "s"

    @classmethod
    def _missing_(cls, value):
        return cls.SMALL if value == "S" else None


@dataclasses.dataclass
class Line:
    sku: str
    price: float
    tags: "list[str]" = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Order:
    id: int
    lines: list[Line]
    note: str | None = None


@dataclasses.dataclass(frozen=True)
class Point:
    __slots__ = ("x", "y")
    x: int
    y: int


@dataclasses.dataclass
class Derived(Line):
    """`code` is for the constructor only, `total` is not for it, `key` is a keyword."""

    code: dataclasses.InitVar[int] = 0
    total: float = dataclasses.field(init=False, default=1.0)
    key: bool = dataclasses.field(kw_only=True)
    shared: typing.ClassVar[int] = 3

    def __post_init__(self, code):
        if code == 1:
            raise ValueError("code 1")
        if code == 2:
            raise AssertionError("code 2")
        if code == 3:
            raise KeyError("code 3")
        self.total = self.price * 2


@dataclasses.dataclass
class Box(Generic[T]):
    value: T
    more: "list[T]" = dataclasses.field(default_factory=list)


class IntBox(Box[int]):
    pass


@dataclasses.dataclass
class ListBox(Box[list[T]], Generic[T]):
    last: T | None = None


@dataclasses.dataclass
class Tree:
    name: str
    children: "list[Tree]" = dataclasses.field(default_factory=list)
    parent: "Tree | None" = None


class Movie(TypedDict):
    title: str


class Film(Movie, total=False):
    year: "int"
    color: Color


class Spot(NamedTuple):
    x: int
    label: str = "here"


@dataclasses.dataclass
class Cat:
    kind: Literal["cat"]
    lives: int


@dataclasses.dataclass
class Dog:
    kind: Literal["dog"]


@dataclasses.dataclass
class Wide:
    sku: str
    price: float
    width: int


TZ = dt.timezone(dt.timedelta(hours=5, minutes=30))
PARIS = dt.timezone(dt.timedelta(minutes=9, seconds=21))
Meta = herder.Meta

# annotation, JSON value, what the handler gets
FITS = [
    (int, 1, 1),
    (int, 10**400, 10**400),
    (float, 1.5, 1.5),
    (float, 2, 2.0),
    (bool, True, True),
    (str, "a", "a"),
    (str, "\ud800", "\ud800"),
    (None, None, None),
    (bytes, "AP8=", b"\x00\xff"),
    (bytes, "", b""),
    (bytearray, "AP8=", bytearray(b"\x00\xff")),
    (Any, [1, {"a": None}], [1, {"a": None}]),
    (object, {"a": 1}, {"a": 1}),
    (list, [1, "a"], [1, "a"]),
    (dict, {"a": [1]}, {"a": [1]}),
    (tuple, [1, "a"], (1, "a")),
    (set, [1, 1, "a"], {1, "a"}),
    (Optional[int], None, None),
    (Optional[int], 3, 3),
    (Optional[float], 3, 3.0),
    (int | str, "a", "a"),
    (int | float, 1, 1),
    (float | str, 1, 1.0),
    (dt.datetime | str, "2026-01-01T00:00:00", "2026-01-01T00:00:00"),
    (dt.datetime | Literal["2026-01-01"], "2026-01-01", "2026-01-01"),
    (dt.datetime | dt.date, "2026-01-01", dt.date(2026, 1, 1)),
    (dt.datetime | pathlib.PurePosixPath | dt.date, "2026-01-01T08:00", dt.datetime(2026, 1, 1, 8)),
    (dict[dt.datetime | dt.date, int], {"2026-01-01": 1}, {dt.date(2026, 1, 1): 1}),
    (list[int | str | None], [1, "a", None], [1, "a", None]),
    (uuid.UUID | int, ID, uuid.UUID(ID)),
    (list[int] | list[str], ["a"], ["a"]),
    (Union[int | None, list[str]], None, None),
    (Literal["a", 1, True, None], True, True),
    (Literal["a", 1, True, None], 1, 1),
    (Literal["a", 1, True, None], None, None),
    (Literal[Color.RED, b"\x00"], "red", Color.RED),
    (Literal[Color.RED, b"\x00"], "AA==", b"\x00"),
    (list[int], [1, 2], [1, 2]),
    (list[int], [], []),
    (typing.List[int], [1], [1]),
    (typing.Dict[str, "float"], {"a": 1}, {"a": 1.0}),
    (typing.Tuple[int, ...], [1], (1,)),
    (typing.List, [1], [1]),
    (typing.FrozenSet[int], [1], frozenset({1})),
    (list[float], [1, 2.5], [1.0, 2.5]),
    (list[float | None], [1, None], [1.0, None]),
    (list[list[uuid.UUID]], [[ID], []], [[uuid.UUID(ID)], []]),
    (abc.Sequence[dt.date], ["2026-01-31"], [dt.date(2026, 1, 31)]),
    (typing.Iterable[int], [1], [1]),
    (tuple[int, ...], [1, 2], (1, 2)),
    (tuple[int, str], [1, "a"], (1, "a")),
    (tuple[()], [], ()),
    (set[int], [1, 1], {1}),
    (frozenset[tuple[int, ...]], [[1], [1]], frozenset({(1,)})),
    (abc.Set[str], ["a"], {"a"}),
    (collections.deque[int], [1], collections.deque([1])),
    (dict[str, float], {"a": 1}, {"a": 1.0}),
    (dict[int, str], {"1": "a", "-2": "b"}, {1: "a", -2: "b"}),
    (dict[uuid.UUID, int], {ID: 1}, {uuid.UUID(ID): 1}),
    (dict[Size, int], {"s": 1}, {Size.SMALL: 1}),
    (dict[Level, int], {"1": 2}, {Level.LOW: 2}),
    (dict[dt.date, int], {"2026-01-31": 1}, {dt.date(2026, 1, 31): 1}),
    (abc.Mapping[str, list[int]], {"a": [1]}, {"a": [1]}),
    (collections.OrderedDict[str, int], {"a": 1}, collections.OrderedDict(a=1)),
    (Color, "red", Color.RED),
    (Color, 1, Color.ONE),
    (Color, None, Color.NULL),
    (Level, 1, Level.LOW),
    (Perm, 3, Perm.READ | Perm.WRITE),
    (Size, "S", Size.SMALL),
    (dt.datetime, "2026-01-31T08:40", dt.datetime(2026, 1, 31, 8, 40)),
    (dt.datetime, "2026-01-31t08:40:01z", dt.datetime(2026, 1, 31, 8, 40, 1, tzinfo=UTC)),
    (dt.datetime, "2026-01-31 08:40:01,1234567+0530", dt.datetime(2026, 1, 31, 8, 40, 1, 123456, tzinfo=TZ)),
    (dt.datetime, "2026-01-31T08:40:01.5-00:00", dt.datetime(2026, 1, 31, 8, 40, 1, 500000, tzinfo=UTC)),
    (dt.datetime, "2026-01-31", dt.datetime(2026, 1, 31)),
    (dt.date, "2024-02-29", dt.date(2024, 2, 29)),
    (dt.datetime, "1880-01-01T00:00:00+00:09:21", dt.datetime(1880, 1, 1, tzinfo=PARIS)),
    (dt.time, "00:00:00-010203.000004", dt.time(tzinfo=dt.timezone(-dt.timedelta(0, 3723, 4)))),
    (dt.time, "08:40", dt.time(8, 40)),
    (dt.time, "23:59:59.999999+05", dt.time(23, 59, 59, 999999, dt.timezone(dt.timedelta(hours=5)))),
    (dt.timedelta, "PT1H30M", dt.timedelta(hours=1, minutes=30)),
    (dt.timedelta, "-P1W2DT3.25S", -dt.timedelta(weeks=1, days=2, seconds=3.25)),
    (dt.timedelta, 90, dt.timedelta(seconds=90)),
    (dt.timedelta, 1.5, dt.timedelta(seconds=1.5)),
    (uuid.UUID, ID.replace("-", "").upper(), uuid.UUID(ID)),
    (uuid.UUID, f"urn:uuid:{ID}", uuid.UUID(ID)),
    (decimal.Decimal, "1.10", decimal.Decimal("1.10")),
    (decimal.Decimal, "-1e-7", decimal.Decimal("-1E-7")),
    (decimal.Decimal, 10**30, decimal.Decimal(10**30)),
    (decimal.Decimal, 9.99, decimal.Decimal("9.99")),
    (pathlib.Path, "a/b", pathlib.Path("a/b")),
    (ipaddress.IPv4Address, "10.0.0.1", ipaddress.IPv4Address("10.0.0.1")),
    (dict[ipaddress.IPv6Network, int], {"2001:db8::/32": 1}, {ipaddress.IPv6Network("2001:db8::/32"): 1}),
    (pathlib.PurePosixPath, "/a", pathlib.PurePosixPath("/a")),
    (Order, {"id": 1, "lines": [{"sku": "a", "price": 2}], "new": 1}, Order(1, [Line("a", 2.0)])),
    (Optional[Line], {"sku": "a", "price": 1.0, "tags": ["x"]}, Line("a", 1.0, ["x"])),
    (Point, {"x": 1, "y": 2}, Point(1, 2)),
    (set[Point], [{"x": 1, "y": 2}], {Point(1, 2)}),
    (Box[int], {"value": 1, "more": [2]}, Box(1, [2])),
    (Box, {"value": [None]}, Box([None])),
    (IntBox, {"value": 1}, IntBox(1)),
    (ListBox[str], {"value": ["a"], "last": "b"}, ListBox(["a"], last="b")),
    (Tree, {"name": "a", "children": [{"name": "b"}]}, Tree("a", [Tree("b")])),
    (Cat | Dog, {"kind": "dog"}, Dog("dog")),
    (Line | Wide, {"sku": "a", "price": 1.0, "width": 2}, Wide("a", 1.0, 2)),
    (Line | Wide, {"sku": "a", "price": 1.0}, Line("a", 1.0)),
    (Movie, {"title": "x", "other": 1}, {"title": "x"}),
    (Film, {"title": "x", "color": "red"}, {"title": "x", "color": Color.RED}),
    (Spot, [1], Spot(1)),
    (Spot, {"x": 1, "label": "b"}, Spot(1, "b")),
    (Pair, [1, "b"], Pair(1, "b")),
    (UserId, 3, 3),
    (Json, {"a": [1, 1.5, {"b": None}, True]}, {"a": [1, 1.5, {"b": None}, True]}),
    (Annotated[int, "documentation"], 1, 1),
    (Annotated[int, []], 1, 1),
    (Annotated[int, Meta(ge=1, le=2, multiple_of=2)], 2, 2),
    (Annotated[float, Meta(multiple_of=0.1)], 0.3, 0.3),
    (Annotated[int | None, Meta(gt=1)], None, None),
    (Annotated[int | str, Meta(gt=1), Meta(min_length=1)], "a", "a"),
    (Annotated[str, Meta(pattern="^a+$", max_length=2)], "aa", "aa"),
    (Annotated[dict[str, int], Meta(min_length=1)], {"a": 1}, {"a": 1}),
    (Annotated[dt.date, Meta(ge=dt.date(2026, 1, 1))], "2026-01-01", dt.date(2026, 1, 1)),
    (list[Annotated[int, Meta(gt=0)]], [1], [1]),
    (dict[Annotated[str, Meta(max_length=1)], int], {"a": 1}, {"a": 1}),
]

WRONG_INT = ("int_type", "Input should be a valid integer")
WRONG_STR = ("string_type", "Input should be a valid string")
REQUIRED = ("missing", "Field required")


def one(path, type, msg):
    return [(list(path), type, msg)]


# annotation, JSON value, errors: the path below the parameter, the type, and the message
ERRORS = [
    *((int, value, one([], *WRONG_INT)) for value in ("1", True, 1.0, None, [1], {})),
    *((float, value, one([], "float_type", "Input should be a valid number")) for value in ("1", False, 10**400)),
    *((bool, value, one([], "bool_type", "Input should be a valid boolean")) for value in (1, "true", None)),
    *((str, value, one([], *WRONG_STR)) for value in (1, None, ["a"])),
    (None, 0, one([], "none_required", "Input should be None")),
    (list, {}, one([], "list_type", "Input should be a valid list")),
    (dict, [], one([], "dict_type", "Input should be a valid dictionary")),
    (bytes, 1, one([], "bytes_type", "Input should be a valid bytes")),
    *(
        (bytes, value, one([], "bytes_invalid_encoding", "Data should be valid base64"))
        for value in ("A", "AP8", "AP8 ", "AP8=\n", "_-8=", "AP9=", "é")
    ),
    (Optional[int], "a", one([], *WRONG_INT)),
    (int | str, [], [(["int"], *WRONG_INT), (["str"], *WRONG_STR)]),
    (int | Line, {"sku": 1}, [(["int"], *WRONG_INT), (["Line", "sku"], *WRONG_STR), (["Line", "price"], *REQUIRED)]),
    *((Literal["a", 1], value, one([], "literal_error", "Input should be 'a' or 1")) for value in ("b", True, 1.0, [])),
    (list[int], {"0": 1}, one([], "list_type", "Input should be a valid list")),
    (list[int], [1, "a", 2, None], [([1], *WRONG_INT), ([3], *WRONG_INT)]),
    (list[list[int]], [[1], [2, "a"]], one([1, 1], *WRONG_INT)),
    (tuple[int, ...], 1, one([], "tuple_type", "Input should be a valid tuple")),
    (tuple[int, str], [1], one([1], *REQUIRED)),
    (tuple[int, str], ["a", 1], [([0], *WRONG_INT), ([1], *WRONG_STR)]),
    (tuple[int, str], [1, "a", 2], one([], "too_long", "Tuple should have at most 2 items after validation, not 3")),
    (set[int], ["a"], one([0], *WRONG_INT)),
    (set, [1, [2]], one([1], "set_item_not_hashable", "Set items should be hashable")),
    (frozenset[int], 1, one([], "frozen_set_type", "Input should be a valid frozenset")),
    (dict[str, int], {"a": "b", "c": 1}, one(["a"], *WRONG_INT)),
    *(
        (
            dict[int, int],
            {key: 1},
            one(
                [key, "[key]"],
                "int_parsing",
                "Input should be a valid integer, unable to parse string as an integer",
            ),
        )
        for key in ("a", "01", "+1", "1_0", "٣", "-0")
    ),
    (dict[uuid.UUID, int], {ID: 1, ID.replace("-", ""): 2}, None),
    (Color, "blue", one([], "enum", "Input should be 'red', 1 or None")),
    (Color, True, one([], "enum", "Input should be 'red', 1 or None")),
    (Level, 1.0, one([], "enum", "Input should be 1")),
    *((Perm, value, one([], "enum", "Input should be 1 or 2")) for value in (4, -1, True, "READ")),
    (dt.datetime, 0, one([], "datetime_type", "Input should be a valid datetime")),
    *(
        (
            dt.datetime,
            value,
            one([], "datetime_parsing", "Input should be a valid datetime, such as 2026-01-31T08:40:00Z"),
        )
        for value in (
            "",
            "now",
            "20260131",
            "2026-W05-6",
            "2026-02-30",
            "0000-01-01",
            "2026-01-31T24:00",
            "2026-01-31T08:40:60",
            "2026-01-31T08",
            "2026-01-31T08:40:00.",
            "2026-01-31T08:40:00+24:00",
            "2026-01-31T08:40:00 Z",
            "2026-01-31T08:40:00Z\n",
            "\uff12026-01-31",
        )
    ),
    *(
        (dt.date, value, one([], "date_parsing", "Input should be a valid date in the format YYYY-MM-DD"))
        for value in ("2026-1-31", "2026-01-31T00:00:00", "2025-02-29")
    ),
    (dt.time, "8:40", one([], "time_parsing", "Input should be in a valid time format, such as 08:40:00")),
    (dt.timedelta, True, one([], "time_delta_type", "Input should be a valid timedelta")),
    *(
        (dt.timedelta, value, one([], "time_delta_parsing", "Input should be a valid timedelta, such as P1DT2H30M"))
        for value in ("P", "PT", "P1Y", "P1M", "PT0.5H", "1:30", "P1D ", "P" + "9" * 5000 + "D", 1e300, 10**400)
    ),
    (uuid.UUID, 1, one([], "uuid_type", "UUID input should be a string, bytes or UUID object")),
    *(
        (uuid.UUID, value, one([], "uuid_parsing", "Input should be a valid UUID"))
        for value in ("", ID[:-1], ID[1:] + "g", "{" + ID, ID.replace("-", "_"))
    ),
    *(
        (decimal.Decimal, value, one([], "decimal_parsing", "Input should be a valid decimal"))
        for value in ("", "1,5", "1_0", " 1", "٣", "1e99999999999999999999", "0x1")
    ),
    (decimal.Decimal, "NaN", one([], "finite_number", "Input should be a finite number")),
    (decimal.Decimal, "-Infinity", one([], "finite_number", "Input should be a finite number")),
    (
        decimal.Decimal,
        0.1 + 0.2,
        one([], "decimal_inexact", "Decimal input with more than 15 digits should be a string"),
    ),
    (
        decimal.Decimal,
        True,
        one([], "decimal_type", "Decimal input should be an integer, float, string or Decimal object"),
    ),
    *(
        (ipaddress.IPv4Address, value, one([], "ip_v4_address", "Input is not a valid IPv4 address"))
        for value in ("10.0.0", "::1", 1, "10.0.0.01")
    ),
    (ipaddress.IPv4Network, "10.0.0.1/8", one([], "ip_v4_network", "Input is not a valid IPv4 network")),
    (Line, [], one([], "dataclass_type", "Input should be a dictionary or an instance of Line")),
    (
        Order,
        {"id": "1", "lines": [{"sku": "a", "price": 1}, {"price": "x"}]},
        [
            (["id"], *WRONG_INT),
            (["lines", 1, "sku"], *REQUIRED),
            (["lines", 1, "price"], "float_type", "Input should be a valid number"),
        ],
    ),
    (Derived, {"sku": "a", "price": 1, "code": 1, "key": True}, one([], "value_error", "Value error, code 1")),
    (Derived, {"sku": "a", "price": 1, "code": "1"}, [(["code"], *WRONG_INT), (["key"], *REQUIRED)]),
    (Box[int], {"value": "a", "more": ["b"]}, [(["value"], *WRONG_INT), (["more", 0], *WRONG_INT)]),
    (IntBox, {"value": "a"}, one(["value"], *WRONG_INT)),
    (ListBox[str], {"value": [1]}, one(["value", 0], *WRONG_STR)),
    (Tree, {"name": "a", "parent": {"name": 1}}, one(["parent", "name"], *WRONG_STR)),
    (
        Cat | Dog,
        {"kind": "bird"},
        [
            (["Cat", "kind"], "literal_error", "Input should be 'cat'"),
            (["Cat", "lives"], *REQUIRED),
            (["Dog", "kind"], "literal_error", "Input should be 'dog'"),
        ],
    ),
    (Film, {"year": "1"}, [(["title"], *REQUIRED), (["year"], *WRONG_INT)]),
    (Spot, [], one([0], *REQUIRED)),
    (Spot, [1, "a", 2], one([], "too_long", "NamedTuple should have at most 2 items after validation, not 3")),
    (
        Spot,
        {"label": 1, "z": 1},
        [(["x"], *REQUIRED), (["label"], *WRONG_STR), (["z"], "extra_forbidden", "Extra inputs are not permitted")],
    ),
    (UserId, "3", one([], *WRONG_INT)),
    (Annotated[int, Meta(gt=3)], 3, one([], "greater_than", "Input should be greater than 3")),
    (Annotated[float, Meta(ge=0.5)], 0, one([], "greater_than_equal", "Input should be greater than or equal to 0.5")),
    (Annotated[int, Meta(lt=3)], 3, one([], "less_than", "Input should be less than 3")),
    (Annotated[int, Meta(le=3)], 4, one([], "less_than_equal", "Input should be less than or equal to 3")),
    (Annotated[int, Meta(multiple_of=3)], 4, one([], "multiple_of", "Input should be a multiple of 3")),
    (Annotated[str, Meta(min_length=1)], "", one([], "string_too_short", "String should have at least 1 character")),
    (Annotated[str, Meta(max_length=2)], "abc", one([], "string_too_long", "String should have at most 2 characters")),
    (Annotated[str, Meta(pattern="^a$")], "b", one([], "string_pattern_mismatch", "String should match pattern '^a$'")),
    (Annotated[bytes, Meta(min_length=2)], "AA==", one([], "bytes_too_short", "Data should have at least 2 bytes")),
    (
        Annotated[list[int], Meta(min_length=1)],
        [],
        one([], "too_short", "List should have at least 1 item after validation, not 0"),
    ),
    (
        Annotated[set[int], Meta(max_length=1)],
        [1, 2],
        one([], "too_long", "Set should have at most 1 item after validation, not 2"),
    ),
    (
        Annotated[dt.datetime, Meta(gt=dt.datetime(2026, 1, 1, tzinfo=UTC))],
        "2026-01-02T00:00:00",
        one([], "timezone_aware", "Input should have timezone info"),
    ),
    (Annotated[int | None, Meta(gt=3)], 3, one([], "greater_than", "Input should be greater than 3")),
    (
        dict[Annotated[str, Meta(max_length=1)], int],
        {"ab": 1},
        one(["ab", "[key]"], "string_too_long", "String should have at most 1 character"),
    ),
]
