"""R73: the JSON Schemas of commands accept the arguments that the commands accept."""

import collections.abc
import dataclasses
import datetime as dt
import decimal
import enum
import re
import typing
from typing import Annotated, Any, Literal, NamedTuple

import pytest

import herder
from herder import schemas
from herder.codec import encode
from herder.errors import CallRejection
from herder.typed_schemas import DURATION
from type_tables import ERRORS, FITS, ID, Box, Color, Derived, Json, Line, Perm, Tree

JSON = Json  # the type names itself, in the scope of this module
# Values for every annotation, beside those of the tables.
VALUES = [
    None,
    True,
    0,
    1,
    -1,
    2.5,
    1e300,
    "",
    "a",
    "1",
    "red",
    "2026-01-31",
    ID,
    "AP8=",
    [],
    [1],
    ["a"],
    [[1]],
    [1, "a"],
]
VALUES += [{}, {"a": 1}, {"1": "a"}, {"x": 1}, {"x": 1, "label": "b", "z": 1}, {"sku": "a", "price": 1, "tags": None}]


def described(function, app=None):
    app = app or herder.App()
    app.command(function)
    commands = app._commands()
    [entry] = schemas.describe_commands(app, commands, app._encode())
    return entry


def command_of(annotation):
    def handler(**arguments):
        return arguments

    def signature(value):
        pass

    signature.__annotations__ = {"value": annotation}
    handler.__wrapped__ = signature
    return handler


def accepts(command, value):
    arguments = {"value": value}
    try:
        command.check(arguments)
        command.call(**arguments)
    except CallRejection:
        return False
    except KeyError:  # of `__post_init__`
        return False
    return True


def validator_of(schema):
    """A validator that reads `$` as the standard does: Python's also matches before a last newline."""
    jsonschema = pytest.importorskip("jsonschema")

    def pattern(_validator, expression, instance, _schema):
        if isinstance(instance, str) and not re.search(re.sub(r"\$$", r"\\Z", expression), instance):
            yield jsonschema.ValidationError(expression)

    base = jsonschema.Draft202012Validator
    base.check_schema(schema)
    return jsonschema.validators.extend(base, {"pattern": pattern})(schema)


def has_whole_float(value):
    if isinstance(value, (list, dict)):
        return any(map(has_whole_float, value.values() if isinstance(value, dict) else value))
    return isinstance(value, float) and value.is_integer()


def is_known_difference(annotation, value, valid):
    """Whether JSON Schema cannot express the difference: docs/python-types.md has the list."""
    if (
        annotation == Annotated[float, herder.Meta(multiple_of=0.1)]
    ):  # validators compute with doubles, without tolerance
        return True
    if not valid:
        return False
    if annotation is float and type(value) is int:
        return value.bit_length() > 1023
    if annotation in (dt.datetime, dt.date):
        return value[8:10] in ("29", "30", "31")  # days that the month does not have
    if annotation is decimal.Decimal and type(value) is float:
        return len(repr(value)) > 16  # the digits of a double
    return has_whole_float(value)  # for JSON Schema, 1.0 is an integer, and equals 1


def is_checked_by_code(annotation):
    """Whether JSON Schema cannot express a part of the annotation."""
    text = repr(annotation)
    return any(
        part in text
        for part in (
            "IPv",
            "datetime.datetime(",
            "datetime.date(",
            "Derived",
            "Annotated[bytes",
            "Annotated[set",
            "Size",
        )
    ) or re.search(r"dict\[(uuid|datetime)", text)


ANNOTATIONS = list({repr(each): each for each, *_ in [*FITS, *ERRORS]}.values())


def changed(value):
    """Values that differ a little from a value of the tables, so that they are just about right or wrong."""
    yield value
    yield [value]
    if isinstance(value, str) and len(value) < 100:
        yield from (
            value[:-1],
            value[1:],
            value + "0",
            value + "\n",
            value.upper(),
            value.replace("-", ""),
            f" {value}",
        )
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from (-value, value + 1, str(value), bool(value), value / 2 if abs(value) < 1e9 else None)
    elif isinstance(value, list):
        yield from (value[1:], value[:-1], [*value, None], [*value, *value])
        yield from ([each] for item in value for each in changed(item))
    elif isinstance(value, dict):
        yield {**value, "more": 1}
        for key, item in value.items():
            rest = {name: each for name, each in value.items() if name != key}
            yield rest
            yield from ({**rest, name: item} for name in (key + "0", "0" + key, f"-{key}", key.upper()))
            yield from ({**value, key: each} for each in (*changed(item), None))


def values_for(annotation):
    name = repr(annotation)
    own = [each for row, value, _ in [*FITS, *ERRORS] if repr(row) == name for each in changed(value)]
    return own + VALUES


@pytest.mark.parametrize("annotation", ANNOTATIONS, ids=lambda each: str(each)[:40])
def test_a_schema_accepts_what_the_command_accepts(annotation):
    """With the values of the tables of types, and with others."""
    app = herder.App()
    app.command(command_of(annotation))
    command = app._commands()["handler"]
    [entry] = schemas.describe_commands(app, app._commands(), app._encode())
    assert "schema_error" not in entry
    validator = validator_of(entry["parameters"])
    assert not validator.is_valid({}) and not validator.is_valid({"value": None, "other": 1})
    for value in values_for(annotation):
        fits, valid = accepts(command, value), validator.is_valid({"value": value})
        if is_checked_by_code(annotation):
            fits = valid = True if "Size" in repr(annotation) or not fits else valid
        if fits != valid:
            assert is_known_difference(annotation, value, valid), (value, fits, valid, entry["parameters"])
    encode(entry)


def test_plain_parameters():
    def add(session: herder.Session, item: str, count: int = 1, note: str | None = None, wrong: int = None): ...  # noqa: RUF013

    assert described(add) == {
        "name": "add",
        "idempotent": False,
        "needs_session": True,
        "parameters": {
            "type": "object",
            "properties": {
                "item": {"type": "string"},
                "count": {"type": "integer", "default": 1},
                "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
                "wrong": {"type": "integer"},
            },
            "required": ["item"],
            "additionalProperties": False,
        },
    }


def test_other_arguments():
    def plain(session: herder.Session, **options): ...

    schema = described(plain)["parameters"]
    assert schema == {"type": "object", "properties": {}, "propertyNames": {"not": {"enum": ["session"]}}}

    def typed(day: dt.date, session: herder.Session, **options: list[int]): ...

    schema = described(typed)["parameters"]
    assert schema["propertyNames"] == {"not": {"enum": ["session"]}}
    assert schema["additionalProperties"] == {"type": "array", "items": {"type": "integer"}}
    assert schema["required"] == ["day"]


def test_what_herder_supplies_is_not_described():
    def connect():
        pass

    def plain(x: int, conn: Annotated[int, herder.Depends(connect)], session: herder.Session, call: herder.Call): ...
    def typed(
        x: dt.date, conn: Annotated[int, herder.Depends(connect)], session: herder.Session, call: herder.Call
    ): ...

    for handler in (plain, typed):
        schema = described(handler)["parameters"]
        assert schema["properties"].keys() == {"x"} and "propertyNames" not in schema


@dataclasses.dataclass
class Options:
    """How to draw."""

    color: Color = Color.RED
    sizes: list[int] = dataclasses.field(default_factory=list)
    day: dt.date = dt.date(2026, 1, 31)


class Nested(NamedTuple):
    box: Box[Line]
    flags: Perm = Perm.READ


def test_records_are_definitions():
    def draw(
        options: Annotated[Options | None, herder.Meta(description="all of them")] = None,
        nested: Nested = None,
        tree: Tree = None,
        price: Annotated[decimal.Decimal, herder.Meta(gt=decimal.Decimal(0), examples=["1.5"])] = decimal.Decimal(
            "1.10"
        ),
    ): ...

    schema = described(draw)["parameters"]
    assert schema["properties"]["options"] == {
        "anyOf": [{"$ref": "#/$defs/Options"}, {"type": "null"}],
        "description": "all of them",
        "default": None,
    }
    assert schema["properties"]["tree"] == {"$ref": "#/$defs/Tree"}
    price = schema["properties"]["price"]
    assert (price["default"], price["exclusiveMinimum"], price["examples"]) == ("1.10", 0, ["1.5"])
    assert schema["$defs"].keys() == {"Options", "Nested", "Box", "Line", "Tree"}
    assert schema["$defs"]["Options"]["description"] == "How to draw."
    assert schema["$defs"]["Options"]["properties"]["day"]["default"] == "2026-01-31"
    assert schema["$defs"]["Options"]["properties"]["color"] == {"enum": ["red", 1, None], "default": "red"}
    assert schema["$defs"]["Tree"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}
    assert "description" not in schema["$defs"]["Line"]
    as_array, as_object = schema["$defs"]["Nested"]["anyOf"]
    assert as_array["prefixItems"][1] == {"type": "integer", "minimum": 0, "maximum": 3}
    assert as_object["properties"]["flags"]["default"] == 1 and as_array["minItems"] == 1


def test_two_classes_of_one_name_have_two_definitions():
    first = dataclasses.make_dataclass("Item", [("a", int)])
    second = dataclasses.make_dataclass("Item", [("b", first)])

    def handler(x: first, y: second, z: list[first]): ...

    schema = described(handler)["parameters"]
    assert schema["$defs"]["Item_2"]["properties"] == {"b": {"$ref": "#/$defs/Item"}}
    assert schema["properties"]["z"]["items"] == schema["properties"]["x"] == {"$ref": "#/$defs/Item"}


def test_results():
    class Money:
        pass

    @dataclasses.dataclass
    class Price:
        money: int

    def result_of(annotation, *, function=lambda: None, app=None):
        def handler(): ...

        if function is not None:
            handler = function
        handler.__annotations__ = {} if annotation is ... else {"return": annotation}
        return described(handler, app).get("result")

    def items():
        yield 1

    async def async_items():
        yield 1

    assert result_of(...) is None
    assert result_of(None) == {"type": "null"}
    assert result_of(Any) == {}
    assert result_of("dict[str, list[int | None]]") == {
        "type": "object",
        "additionalProperties": {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
    }
    duration = result_of(dt.timedelta)
    assert (duration.pop("pattern"), duration) == (f"^(?:{DURATION})$", {"type": "string", "format": "duration"})
    assert result_of(decimal.Decimal | None)["anyOf"][0] == {"type": "string", "format": "decimal"}
    assert result_of(collections.abc.Iterator[int], function=items) == {"type": "array", "items": {"type": "integer"}}
    lines = result_of(collections.abc.AsyncIterator[Line], function=async_items)
    assert lines["items"] == {"$ref": "#/$defs/Line"} and lines["$defs"].keys() == {"Line"}
    assert result_of(..., function=items) is None and result_of(int, function=items) == {"type": "array"}
    line = result_of(Line)["$defs"]["Line"]
    assert line["required"] == ["sku", "price", "tags"] and line["properties"]["tags"]["type"] == "array"
    assert result_of(Nested)["$defs"]["Nested"]["prefixItems"][1]["type"] == "integer"
    assert result_of(Money) is None and result_of("Missing") is None
    app = herder.App()
    app.encoder(Price)(lambda price: price.money)
    assert result_of(list[Price], app=app) == {"type": "array"}
    app.encoder(Way)(lambda way: way.name)
    app.encoder(object)(repr)
    numbers = {"type": "object", "additionalProperties": {"type": "integer"}}
    forms = [
        (Way, {}),
        (Literal[Way.UP], {}),
        (Literal["up"], {"const": "up", "type": "string"}),
        (dict[Way, int], numbers),
        (dict[Literal[Way.UP], int], numbers),
    ]
    for number, (annotation, form) in enumerate(forms):
        app._functions.clear()
        assert result_of(annotation, app=app) == form, number


class Way(enum.Enum):
    UP = "up"


def test_examples_have_their_form_in_json():
    day = Annotated[dt.date, herder.Meta(examples=[dt.date(2026, 1, 31), object()])]

    def handler(x: day, y: Annotated[float, herder.Meta(examples=[float("nan")])]) -> day: ...

    entry = described(handler)
    assert "schema_error" not in entry and "examples" not in entry["result"]
    properties = entry["parameters"]["properties"]
    assert properties["x"]["examples"] == ["2026-01-31"] and "examples" not in properties["y"]


def test_what_cannot_be_described_accepts_everything():
    def large(x: Literal["a"] = "a"):
        pass

    large.__doc__ = "x" * schemas.MAX_COMMAND
    entry = described(large)
    assert entry.keys() == {"name", "idempotent", "schema_error"}
    assert entry["schema_error"].startswith("the description has 26")


def test_descriptions_are_left_out_if_they_do_not_fit():
    entries = [{"name": "a", "idempotent": False, "description": "x" * 100}, {"name": "b", "idempotent": True}]
    assert schemas.within(entries, 1000) == entries
    assert schemas.within(entries, 150) == [{"name": "a", "idempotent": False}, entries[1]]
    assert schemas.within(entries, 1) == [{"name": "a", "idempotent": False}, entries[1]]


def test_models_of_pydantic():
    pydantic = pytest.importorskip("pydantic", minversion="2.0")

    class Part(pydantic.BaseModel):
        code: str = pydantic.Field(alias="id", description="its number")

    first = Part

    class Part(pydantic.BaseModel):
        other: first | None = None

    class Broken(pydantic.BaseModel):
        call: typing.Callable[[], int]

    def handler(x: first, y: Part, z: Annotated[list[first], pydantic.Field(min_length=1)]) -> first: ...

    entry = described(handler)
    schema, result = entry["parameters"], entry["result"]
    assert "schema_error" not in entry
    validator = validator_of(schema)
    assert validator.is_valid({"x": {"id": "a"}, "y": {"other": {"id": "b"}}, "z": [{"id": "c"}]})
    for wrong in ({"code": "a"}, {"id": 1}):
        assert not validator.is_valid({"x": wrong, "y": {}, "z": [{"id": "c"}]})
        assert not validator.is_valid({"x": {"id": "a"}, "y": {"other": wrong}, "z": [{"id": "c"}]})
    assert not validator.is_valid({"x": {"id": "a"}, "y": {}, "z": []})
    assert (
        result["$ref"] == "#/$defs/Part" and result["$defs"]["Part"]["properties"]["id"]["description"] == "its number"
    )
    # `first` and the model of the same name, each once.
    assert schema["properties"]["x"] == schema["properties"]["z"]["items"] and len(schema["$defs"]) == 2

    def broken(x: int, y: Broken): ...

    entry = described(broken)
    assert entry["parameters"]["properties"] == {"x": {"type": "integer"}, "y": {}}
    assert entry["schema_error"].startswith("parameter `y`: ")


def test_structs_of_msgspec():
    msgspec = pytest.importorskip("msgspec")

    class Part(msgspec.Struct, rename="camel"):
        part_code: str
        more: "list[Part]" = msgspec.field(default_factory=list)

    globals()["Part"] = Part

    def handler(x: Part, y: Line) -> list[Part]: ...

    entry = described(handler)
    validator = validator_of(entry["parameters"])
    line = {"sku": "a", "price": 1}
    assert validator.is_valid({"x": {"partCode": "a", "more": [{"partCode": "b"}]}, "y": line})
    assert not validator.is_valid({"x": {"partCode": "a", "more": [{"partCode": 1}]}, "y": line})
    assert entry["result"]["items"] == {"$ref": "#/$defs/Part"}


APP = '''
@app.command(idempotent=True)
def double(x: int) -> int:
    """Double a number."""
    return 2 * x
'''


def test_a_worker_sends_its_descriptions(start):
    host = start(APP)
    assert host.ready_message["commands"] == [
        {
            "name": "double",
            "idempotent": True,
            "description": "Double a number.",
            "parameters": {
                "type": "object",
                "properties": {"x": {"type": "integer"}},
                "required": ["x"],
                "additionalProperties": False,
            },
            "result": {"type": "integer"},
        }
    ]
    small = start(APP, max_frame=160)
    assert small.ready_message["commands"] == [{"name": "double", "idempotent": True}]
    assert small.call("double", x=2).result == 4


def test_derived_dataclasses_list_what_their_constructor_takes():
    def handler(x: Derived): ...

    schema = described(handler)["parameters"]["$defs"]["Derived"]
    assert schema["properties"].keys() == {"sku", "price", "tags", "code", "key"}
    assert schema["required"] == ["sku", "price", "key"]


@dataclasses.dataclass
class Hashed:
    name: str
    password: dataclasses.InitVar[str]
    salt: dataclasses.InitVar[str] = "s"
    digest: str = dataclasses.field(init=False, default="")


def test_the_result_of_a_dataclass_has_no_init_variables():
    def handler(x: Hashed) -> Hashed: ...

    entry = described(handler)
    assert entry["parameters"]["$defs"]["Hashed"]["required"] == ["name", "password"]
    result = entry["result"]["$defs"]["Hashed"]
    assert result["properties"].keys() == {"name"} and result["required"] == ["name"]


@pytest.mark.parametrize(
    ("pattern", "is_described"),
    [
        (r"^[\w\-.]+\.\d{1,3}/\[x\]$", True),
        (r"(?<=a)b(?!c)(?:d)(e)\1?", True),
        (r"^\d{3}\-\d{4}$", False),
        (r"\w\@\w", False),
        (r"a\ b", False),
        (r"\U0001F600", False),
        ("a{,3}", False),
        ("[]a]", False),
        (r"\Aa\Z", False),
        ("(?i)a", False),
    ],
)
def test_patterns_that_mean_something_else_in_other_languages_are_left_out(pattern, is_described):
    def handler(x: Annotated[str, herder.Meta(pattern=pattern)]): ...

    assert ("pattern" in described(handler)["parameters"]["properties"]["x"]) == is_described
