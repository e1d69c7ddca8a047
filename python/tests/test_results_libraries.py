"""Results of the types of numpy, pandas, pydantic, msgspec and attrs. A test without its library is skipped."""

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

import herder
from result_table import ID, Color, Line
from test_results import encoded, refusal

NANOSECONDS = "2024-05-01T12:00:00.000000001"


class Opaque:
    pass


def check(cases, app=None):
    """Check pairs of a value and its form, alone and inside other values."""
    for value, form in cases:
        assert encoded(value, app) == form, repr(value)
        assert encoded([Line("tea", value)], app) == [{"sku": "tea", "price": form, "note": ""}], repr(value)


def test_numpy():
    np = pytest.importorskip("numpy")
    check(
        [
            (np.int64(-5), -5),
            (np.uint64(2**64 - 1), 2**64 - 1),
            (np.bool_(True), True),
            (np.float64(0.1), 0.1),
            (np.float32(0.5), 0.5),
            (np.float16(0.5), 0.5),
            (np.longdouble(0.5), 0.5),
            (np.str_("a"), "a"),
            (np.bytes_(b"ab"), "YWI="),
            (np.array(5), 5),
            (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
            (np.arange(8)[::2], [0, 2, 4, 6]),
            (np.array([]), []),
            (np.zeros((2, 0)), [[], []]),
            (np.array([0.5], dtype=np.longdouble), [0.5]),
            (np.array([True, False]), [True, False]),
            (np.array(["a", "bc"]), ["a", "bc"]),
            (np.array([b"ab"]), ["YWI="]),
            (np.array([ID, None, date(2024, 5, 1), {1}], dtype=object), [str(ID), None, "2024-05-01", [1]]),
            (np.ma.masked_array([1, 2], [True, False]), [None, 2]),
            (np.datetime64("2024-05-01"), "2024-05-01"),
            (np.datetime64("2024-05"), "2024-05"),
            (np.datetime64("2024-05-01T12:00:00", "ns"), "2024-05-01T12:00:00"),
            (np.datetime64("2024-05-01T12:00:00.25", "ns"), "2024-05-01T12:00:00.250000"),
            (np.datetime64(NANOSECONDS), NANOSECONDS),
            (np.datetime64("-9999-01-01"), "-9999-01-01"),
            (np.array(["2024-05-01", "NaT"], dtype="datetime64[us]"), ["2024-05-01T00:00:00", None]),
            (np.timedelta64(90, "s"), "PT1M30S"),
            (np.timedelta64(-1, "ns"), "-PT0.000000001S"),
            (np.timedelta64("NaT", "s"), None),
            (np.array([[1, 2]], dtype="timedelta64[25m]"), [["PT25M", "PT50M"]]),
            (np.timedelta64(2, "W"), "P14D"),
            ({np.int64(5): np.str_("a")}, {"5": "a"}),
        ]
    )
    for value, place in [
        (np.float32("nan"), "result.a: NaN and infinities"),
        (np.float64("inf"), "result.a: NaN and infinities"),
        (np.array([[1.0, np.nan]]), "result.a[0][1]: NaN and infinities"),
        (np.array([1j]), "result.a: numpy values of dtype complex128 cannot be encoded"),
        (np.complex64(1j), "result.a: numpy values of dtype complex64 cannot be encoded"),
        (np.zeros(2, dtype=[("x", int)]), "result.a: numpy values of dtype"),
        (np.timedelta64(1, "Y"), "result.a: a numpy duration in the unit Y has no fixed length"),
        (np.timedelta64(1), "result.a: a numpy duration in the unit generic has no fixed length"),
        (np.array([1, Opaque()], dtype=object), "result.a[1]: a value of type Opaque"),
        (np, "result.a: a value of type module"),
    ]:
        assert refusal({"a": value}).startswith(place)
    cycle = np.array([None], dtype=object)
    cycle[0] = cycle
    assert refusal(cycle) == "Circular reference detected"
    assert encoded(np.array([np.nan, np.inf, 1]), herder.App(nan="null")) == [None, None, 1]
    app = herder.App()
    app.encoder(np.ndarray)(lambda array: {"shape": array.shape})
    assert encoded(np.zeros((2, 3)), app) == {"shape": [2, 3]}


def test_pandas():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"id": [1, 2], "at": pd.to_datetime(["2024-05-01", None]), "name": ["a", "b"]}, index=[7, 8])
    records = [{"id": 1, "at": "2024-05-01T00:00:00", "name": "a"}, {"id": 2, "at": None, "name": "b"}]
    check(
        [
            (frame, records),
            (frame["id"], [1, 2]),
            (frame.index, [7, 8]),
            (frame.columns, ["id", "at", "name"]),
            (pd.DataFrame(), []),
            (pd.DataFrame({1: [0.5]}), [{"1": 0.5}]),
            (pd.Series([1, None], dtype="Int64"), [1, None]),
            (pd.Series([1.5, True, "a", None, {1}, ID], dtype=object), [1.5, True, "a", None, [1], str(ID)]),
            (pd.Series(["a", "b", "a"], dtype="category"), ["a", "b", "a"]),
            (pd.array([1, None]), [1, None]),
            (pd.Categorical(["a"]), ["a"]),
            (pd.Timestamp(NANOSECONDS), NANOSECONDS),
            (pd.Timestamp("2024-05-01", tz="UTC"), "2024-05-01T00:00:00+00:00"),
            (pd.Timedelta(minutes=-1), "-PT1M"),
            (pd.Timedelta(1, "ns"), "PT0.000000001S"),
            (pd.Period("2024-05"), "2024-05"),
            (pd.NaT, None),
            (pd.NA, None),
        ]
    )
    missing = pd.DataFrame({"a": [1.5, None], "b": ["x", float("nan")]})
    assert refusal(missing).startswith("result[1].a: NaN and infinities")
    assert encoded(missing, herder.App(nan="null")) == [{"a": 1.5, "b": "x"}, {"a": None, "b": None}]
    assert refusal(pd.Series([1, Opaque()])).startswith("result[1]: a value of type Opaque")
    assert "two columns of one name" in refusal(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    assert "keys must be" in refusal(pd.DataFrame({("a", "b"): [1]}))


def test_pydantic():
    pydantic = pytest.importorskip("pydantic")

    class Item(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
        name: str = pydantic.Field(alias="itemName")
        at: datetime
        price: Decimal
        color: Color = Color.RED
        more: Any = None

        @pydantic.field_serializer("price")
        def cents(self, price: Decimal) -> int:
            return int(price * 100)

    class Number(pydantic.BaseModel):
        value: float

    class Overridden(pydantic.BaseModel):
        def model_dump(self, **_):
            return {"own": ID}

    @pydantic.dataclasses.dataclass
    class Data:
        at: date = pydantic.Field(alias="on")
        item: Any = None

    at = datetime(2024, 5, 1, tzinfo=timezone.utc)
    item = Item(itemName="tea", at=at, price="4.50")
    form = {"itemName": "tea", "at": "2024-05-01T00:00:00Z", "price": 450, "color": "red", "more": None}
    check(
        [
            (item, form),
            (pydantic.RootModel[list[int]]([1]), [1]),
            (Overridden(), {"own": str(ID)}),
            (Data(on=date(2024, 5, 1)), {"on": "2024-05-01", "item": None}),
            (Data(on=date(2024, 5, 1), item=item), {"on": "2024-05-01", "item": form}),
            # What pydantic does not know has the form of Herder.
            (
                Item(itemName="tea", at=at, price=1, more=Line("a", ID)),
                {**form, "price": 100, "more": encoded(Line("a", ID))},
            ),
        ]
    )
    app = herder.App()
    app.encoder(Opaque)(lambda opaque: {"opaque": ID})
    item.more = [Opaque()]
    assert encoded(item, app) == {**form, "more": [{"opaque": str(ID)}]}
    assert "a value of type Opaque cannot be encoded as JSON" in refusal([item])
    app.encoder(Item)(lambda item: item.name)
    assert encoded([item], app) == ["tea"]
    assert refusal([Number(value=float("nan"))]).startswith("result[0].value: NaN")


def test_msgspec():
    msgspec = pytest.importorskip("msgspec")

    class Item(msgspec.Struct, rename="camel", tag="item", omit_defaults=True):
        item_name: str
        at: datetime
        took: timedelta = timedelta(days=400)
        more: Any = None

    class Row(msgspec.Struct, array_like=True):
        a: int
        b: set

    at = datetime(2024, 5, 1, tzinfo=timezone.utc)
    form = {"type": "item", "itemName": "tea", "at": "2024-05-01T00:00:00+00:00"}
    check(
        [
            (Item("tea", at), form),
            (
                Item("tea", at, more={"raw": b"ab", ID: Decimal("1.0")}),
                {**form, "more": {"raw": "YWI=", str(ID): "1.0"}},
            ),
            (Item("tea", at, more=[Color.RED, Row(1, set())]), {**form, "more": ["red", [1, []]]}),
            (Item("tea", at, took=timedelta(days=500)), {**form, "took": "P500D"}),
            (Item("tea", at, more=[range(2)]), {**form, "more": [[0, 1]]}),
        ]
    )
    app = herder.App()
    app.encoder(Opaque)(lambda opaque: {"opaque": ID})
    assert encoded(Item("tea", at, more=[Opaque()]), app) == {**form, "more": [{"opaque": str(ID)}]}
    assert "a value of type Opaque cannot be encoded as JSON" in refusal([Item("tea", at, more=Opaque())])
    assert refusal([Item("tea", at, more=float("inf"))]).startswith("result[0].more: NaN")


def test_attrs():
    attr = pytest.importorskip("attr")

    @attr.s(slots=True)
    class Item:
        name = attr.ib()
        more = attr.ib(default=None)

    @attr.define
    class Derived(Item):
        last: int = 0

    check([(Item("tea", ID), {"name": "tea", "more": str(ID)}), (Derived("a"), {"name": "a", "more": None, "last": 0})])
    assert refusal(Item("tea", Opaque())).startswith("result.more: a value of type Opaque")


def test_a_class_that_looks_like_one_of_a_library():
    """The names of a class may lie. Then its form is an error, or what its methods return, and nothing else."""
    looks = [
        ("numpy", "ndarray"),
        ("pandas", "DataFrame"),
        ("decimal", "Decimal"),
        ("enum", "Enum"),
    ]
    for module, name in looks:
        kind = type(name, (), {"__module__": module})
        assert refusal([kind()]).startswith(f"result[0]: a value of type {name} cannot be encoded as JSON")
    for attribute in ("__dataclass_fields__", "__attrs_attrs__", "__pydantic_serializer__"):
        kind = type("Looks", (), {attribute: 5})
        assert "Looks" in refusal([kind()])
