"""The table of result types and their forms. It needs the standard library only, so it also runs without packages."""

import array
import collections
import dataclasses
import enum
import types
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from ipaddress import ip_address, ip_network
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, ClassVar, NamedTuple
from uuid import UUID

ID = UUID("12345678-1234-5678-1234-567812345678")


class Color(enum.Enum):
    RED = "red"
    SINCE = date(2024, 5, 1)


class Nested(enum.Enum):
    COLOR = Color.SINCE


class Level(enum.IntEnum):
    HIGH = 3


class Text(str, enum.Enum):
    A = "a"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: Any


@dataclasses.dataclass
class Line:
    sku: str
    price: Any
    kind: ClassVar[str] = "line"
    scale: dataclasses.InitVar[int] = 1
    note: str = dataclasses.field(default="", repr=False)


@dataclasses.dataclass(frozen=True)
class Order:
    __slots__ = ("at", "lines")
    at: datetime
    lines: Any


class Money:
    def __init__(self, cents):
        self.cents = cents

    def __json__(self):
        return {"cents": self.cents, "text": Decimal(self.cents) / 100}


class Cents(Money):
    pass


class Zone(timezone.__base__):
    """A time zone with an offset of seconds."""

    def utcoffset(self, _):
        return timedelta(hours=-5, seconds=1)


# One row for each type: what a handler returns, and its form.
FORMS = {
    "dataclass": (Line("tea", Decimal("4.50")), {"sku": "tea", "price": "4.50", "note": ""}),
    "nested dataclass": (
        Order(datetime(2024, 5, 1, 12), [Line("tea", Level.HIGH)]),
        {"at": "2024-05-01T12:00:00", "lines": [{"sku": "tea", "price": 3, "note": ""}]},
    ),
    "datetime": (datetime(2024, 5, 1, 12, 30, 15, 250000), "2024-05-01T12:30:15.250000"),
    "datetime in UTC": (datetime(2024, 5, 1, tzinfo=timezone.utc), "2024-05-01T00:00:00+00:00"),
    "datetime in a zone": (datetime(2024, 5, 1, tzinfo=Zone()), "2024-05-01T00:00:00-04:59:59"),
    "date": (date(2024, 5, 1), "2024-05-01"),
    "time": (time(9, 5), "09:05:00"),
    "time in UTC": (time(9, 5, tzinfo=timezone.utc), "09:05:00+00:00"),
    "no time": (timedelta(0), "PT0S"),
    "timedelta": (timedelta(days=400, hours=2, seconds=3, milliseconds=50), "P400DT2H3.05S"),
    "minutes": (timedelta(minutes=90), "PT1H30M"),
    "negative timedelta": (timedelta(seconds=-90), "-PT1M30S"),
    "longest timedelta": (timedelta.max, "P999999999DT23H59M59.999999S"),
    "UUID": (ID, str(ID)),
    "Decimal": (Decimal("1.10"), "1.10"),
    "large Decimal": (Decimal("1E+40"), "1E+40"),
    "Enum": (Color.RED, "red"),
    "Enum of a date": (Color.SINCE, "2024-05-01"),
    "Enum of an Enum": (Nested.COLOR, "2024-05-01"),
    "IntEnum": (Level.HIGH, 3),
    "str Enum": (Text.A, "a"),
    "Flag": (Access.READ | Access.WRITE, 3),
    "set": ({3, 1, 2}, [1, 2, 3]),
    "set of text": ({"b", "a"}, ["a", "b"]),
    "frozenset": (frozenset({ID}), [str(ID)]),
    "tuple": ((1, ID), [1, str(ID)]),
    "NamedTuple": (Point(1, date(2024, 5, 1)), [1, "2024-05-01"]),
    "bytes": (b"\x00\xff\xfe", "AP/+"),
    "bytearray": (bytearray(b"ab"), "YWI="),
    "memoryview": (memoryview(b"abcd")[::2], "YWM="),
    "no bytes": (b"", ""),
    "Path": (Path("/srv/a b"), "/srv/a b"),
    "PurePosixPath": (PurePosixPath("a/b"), "a/b"),
    "PureWindowsPath": (PureWindowsPath("c:/a"), "c:\\a"),
    "address": (ip_address("::1"), "::1"),
    "network": (ip_network("10.0.0.0/8"), "10.0.0.0/8"),
    "deque": (collections.deque([1, 2]), [1, 2]),
    "OrderedDict": (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    "defaultdict": (collections.defaultdict(list, a=[ID]), {"a": [str(ID)]}),
    "Counter": (collections.Counter("aab"), {"a": 2, "b": 1}),
    "ChainMap": (collections.ChainMap({"a": 1}, {"b": 2}), {"a": 1, "b": 2}),
    "UserDict": (collections.UserDict(a=1), {"a": 1}),
    "mapping proxy": (types.MappingProxyType({"a": 1}), {"a": 1}),
    "range": (range(3), [0, 1, 2]),
    "keys": ({"a": 1}.keys(), ["a"]),
    "values": ({"a": 1}.values(), [1]),
    "items": ({"a": 1}.items(), [["a", 1]]),
    "array": (array.array("d", [1.5]), [1.5]),
    "__json__": (Money(250), {"cents": 250, "text": "2.5"}),
    "inherited __json__": ([Cents(100)], [{"cents": 100, "text": "1"}]),
    "keys of a dict": (
        {ID: 1, date(2024, 5, 1): 2, Color.RED: 3, Nested.COLOR: 4, Decimal("1.5"): 5, Path("p"): 6, b"ab": 7, 2: 8},
        {str(ID): 1, "red": 3, "2024-05-01": 4, "1.5": 5, "p": 6, "YWI=": 7, "2": 8},
    ),
    "keys deep inside": ([{"a": (Line("tea", {ID: {Level.HIGH: None}}),)}], None),
}
# Two keys above have one form.
del FORMS["keys of a dict"][0][date(2024, 5, 1)]
FORMS["keys deep inside"] = (
    FORMS["keys deep inside"][0],
    [{"a": [{"sku": "tea", "price": {str(ID): {"3": None}}, "note": ""}]}],
)
