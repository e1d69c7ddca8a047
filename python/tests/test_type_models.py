"""R72: models of pydantic and msgspec as parameters, where they are installed. They apply their own rules."""

import dataclasses
import datetime as dt
import decimal
import typing
import uuid
from typing import Annotated, Any, Literal

import pytest

from herder.binding import Command
from herder.errors import CallRejection
from herder.results import Encoder, Rules


def command_of(annotation):
    def handler(value):
        return value

    handler.__annotations__ = {"value": annotation}
    return Command("send", handler, False)


def convert(annotation, value):
    return command_of(annotation).call(value=value)


def errors_of(annotation, value):
    with pytest.raises(CallRejection) as raised:
        convert(annotation, value)
    assert all(error["loc"][0] == "value" for error in raised.value.errors)
    return [(error["loc"][1:], error["type"], error["msg"]) for error in raised.value.errors]


class TestPydantic:
    @pytest.fixture(autouse=True)
    def models(self):
        pydantic = pytest.importorskip("pydantic", minversion="2.0")

        class Line(pydantic.BaseModel):
            sku: str = pydantic.Field(alias="code")
            price: decimal.Decimal

        class Order(pydantic.BaseModel):
            id: int
            lines: list[Line]

            @pydantic.field_validator("id")
            @classmethod
            def check(cls, value):
                if value < 0:
                    raise ValueError("negative")
                if value == 99:
                    raise KeyError("99")
                return value

        self.pydantic, self.Line, self.Order = pydantic, Line, Order

    def test_a_model_is_validated_by_its_rules(self):
        order = convert(self.Order, {"id": "1", "lines": [{"code": "a", "price": "1.5"}]})
        assert type(order) is self.Order and order.id == 1 and order.lines[0].price == decimal.Decimal("1.5")

    def test_its_errors_have_the_path_from_the_parameter(self):
        assert errors_of(self.Order, {"id": -1, "lines": [{"price": 1}]}) == [
            (["id"], "value_error", "Value error, negative"),
            (["lines", 0, "code"], "missing", "Field required"),
        ]
        assert errors_of(list[self.Order], [{"id": 1, "lines": []}, {"id": 1}]) == [
            ([1, "lines"], "missing", "Field required")
        ]

    def test_other_exceptions_of_its_validators_are_those_of_the_handler(self):
        with pytest.raises(KeyError, match="99"):
            convert(self.Order, {"id": 99, "lines": []})

    def test_models_may_be_parts_of_herders_types(self):
        @dataclasses.dataclass
        class Both:
            order: self.Order
            many: dict[str, self.Line]

        both = convert(Both, {"order": {"id": 1, "lines": []}, "many": {"x": {"code": "a", "price": 1}}})
        assert type(both.order) is self.Order and both.many["x"].sku == "a"
        line = convert(self.Order | self.Line | None, {"code": "a", "price": 1})
        assert type(line) is self.Line and convert(self.Order | None, None) is None

    def test_its_own_types_and_validators_work(self):
        pydantic = self.pydantic
        assert convert(pydantic.PositiveInt, 1) == 1
        assert errors_of(pydantic.PositiveInt, "1") == [([], "int_type", "Input should be a valid integer")]
        assert errors_of(pydantic.AwareDatetime, "2026-01-01T00:00:00")[0][1] == "timezone_aware"
        assert convert(Annotated[int, pydantic.AfterValidator(lambda value: value + 1)], 1) == 2
        assert convert(Annotated[str, pydantic.StringConstraints(strip_whitespace=True)], " a ") == "a"
        assert errors_of(pydantic.UUID4, str(uuid.UUID(int=1)))[0][1] == "uuid_version"
        assert errors_of(pydantic.condecimal(decimal_places=1), "1.25")[0][1] == "decimal_max_places"

    def test_a_dataclass_of_pydantic_is_validated_by_it(self):
        @self.pydantic.dataclasses.dataclass
        class Item:
            x: int

        assert convert(Item, {"x": "1"}).x == 1
        assert errors_of(Item, {})[0] == (["x"], "missing", "Field required")

    def test_a_standard_dataclass_may_extend_one_of_pydantic(self):
        @self.pydantic.dataclasses.dataclass
        class Item:
            x: int

        @dataclasses.dataclass
        class Named(Item):
            name: str = ""

        value = convert(Named, {"x": "1", "name": "a"})
        assert type(value) is Named and value == Named(1, "a")
        assert Encoder(Rules({}), False).encode(value) == b'{"x":1,"name":"a"}'

    def test_a_discriminator_selects_the_model(self):
        class Cat(self.pydantic.BaseModel):
            kind: Literal["cat"]
            size: int

        class Dog(self.pydantic.BaseModel):
            kind: Literal["dog"]
            size: int

        pet = Annotated[Cat | Dog, self.pydantic.Field(discriminator="kind")]
        assert type(convert(pet, {"kind": "dog", "size": 1})) is Dog
        assert [each[:2] for each in errors_of(pet, {"kind": "dog"})] == [(["dog", "size"], "missing")]
        assert errors_of(list[pet], [{"kind": "cow"}])[0][:2] == ([0], "union_tag_invalid")

    def test_its_field_is_no_default(self):
        def handler(value: int = self.pydantic.Field(5)):  # type: ignore[misc]
            pass

        @dataclasses.dataclass
        class Item:
            x: int = self.pydantic.Field(5)

        with pytest.raises(TypeError, match="the default of 'value' is a FieldInfo of pydantic"):
            Command("send", handler, False)
        with pytest.raises(TypeError, match="FieldInfo as the default of `x` is no default"):
            command_of(Item)

    def test_constraints_of_its_field_are_checked_by_herder(self):
        field = self.pydantic.Field(gt=3, description="d")
        assert convert(Annotated[int, field], 4) == 4
        assert errors_of(Annotated[int, field], 3) == [([], "greater_than", "Input should be greater than 3")]
        assert errors_of(Annotated[int, field], "4") == [([], "int_type", "Input should be a valid integer")]

    def test_what_applies_only_in_a_model_is_refused(self):
        for field in (self.pydantic.Field(alias="a"), self.pydantic.Field(default=3)):
            with pytest.raises(TypeError, match="applies only in a model"):
                command_of(Annotated[int, field])

    def test_a_model_that_is_not_complete_is_refused(self):
        class Open(self.pydantic.BaseModel):
            x: "Nowhere"  # noqa: F821

        with pytest.raises(TypeError, match="pydantic cannot validate Open"):
            command_of(Open)


class TestMsgspec:
    @pytest.fixture(autouse=True)
    def models(self):
        msgspec = pytest.importorskip("msgspec")

        class Line(msgspec.Struct):
            price: float
            at: dt.datetime | None = None
            counts: dict[int, int] = {}  # noqa: RUF012

        class Order(msgspec.Struct, rename="camel"):
            all_lines: list[Line]

        self.msgspec, self.Line, self.Order = msgspec, Line, Order

    def test_a_struct_is_validated_by_its_rules(self):
        value = {"allLines": [{"price": 1, "at": "2026-01-01T00:00:00Z", "counts": {"1": 2}}]}
        order = convert(self.Order, value)
        assert type(order) is self.Order
        assert order.all_lines[0] == self.Line(1.0, dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc), {1: 2})

    def test_its_error_has_the_path_from_the_parameter(self):
        assert errors_of(self.Order, {"allLines": [{"price": 1}, {"price": "x"}]}) == [
            (["allLines", 1, "price"], "value_error", "Expected `float`, got `str`")
        ]
        assert errors_of(list[self.Order], [{}]) == [([0, "allLines"], "missing", "Field required")]
        assert errors_of(self.Line, {"price": 1, "counts": {"1": "x"}})[0][0] == ["counts", "[...]"]
        wrong_key = errors_of(list[self.Line], [{"price": 1, "counts": {"x": 2}}])
        assert wrong_key == [([0, "counts", "[key]"], "value_error", "Expected `int`, got `str`")]
        assert errors_of(self.Line, 3) == [([], "value_error", "Expected `object`, got `int`")]

    def test_generic_structs_work(self):
        variable = typing.TypeVar("variable")

        class Box(self.msgspec.Struct, typing.Generic[variable]):
            value: variable

        assert convert(Box[int], {"value": 1}).value == 1
        assert errors_of(Box[int], {"value": "a"})[0][0] == ["value"]

    def test_constraints_of_its_meta_are_checked_by_herder(self):
        meta = self.msgspec.Meta
        assert errors_of(Annotated[int, meta(ge=3)], 2)[0][1] == "greater_than_equal"
        assert errors_of(Annotated[dt.datetime, meta(tz=True)], "2026-01-01")[0][1] == "timezone_aware"

    def test_a_struct_that_is_not_complete_is_refused(self):
        class Open(self.msgspec.Struct):
            x: "Nowhere"  # noqa: F821

        with pytest.raises(TypeError, match="msgspec cannot validate Open"):
            command_of(Open)


def test_constraints_of_annotated_types_are_checked():
    types = pytest.importorskip("annotated_types")
    assert errors_of(Annotated[int, types.Interval(gt=1, le=3)], 4)[0][1] == "less_than_equal"
    assert errors_of(Annotated[list[int], types.Len(1, 2)], [])[0][1] == "too_short"
    assert errors_of(types.LowerCase[str], "A")[0][1] == "predicate_failed"
    assert errors_of(Annotated[dt.datetime, types.Timezone(None)], "2026-01-01T00:00:00Z")[0][1] == "timezone_naive"
    with pytest.raises(TypeError, match="cannot be checked"):
        command_of(Annotated[dt.datetime, types.Timezone("Europe/Paris")])


def test_a_class_of_an_old_pydantic_is_refused(monkeypatch):
    class Model:
        __fields__: Any = {}  # noqa: RUF012

        @classmethod
        def parse_obj(cls, value): ...

    with pytest.raises(TypeError, match="pydantic"):
        command_of(Model)
