"""R72: what handlers get for each annotation and JSON value, and the errors of values that do not fit.

Each row of the tables runs with pydantic, msgspec and annotated_types hidden, and with those of them that are
installed: results and errors of standard types do not depend on that.
"""

import base64
import dataclasses
import datetime as dt
import enum
import functools
import importlib
import sys
import threading
import traceback
import typing
from typing import Annotated, Any, TypedDict

import pytest

from herder import typed, typed_arguments, typed_records, typed_source
from herder.binding import Command, plain_types
from herder.errors import CallRejection
from herder.typed_arguments import ArgumentConverter
from type_tables import ERRORS, FITS, REQUIRED, WRONG_INT, Derived, Json, Line, Order, Tree, one

JSON = Json  # the type names itself, in the scope of this module


@pytest.fixture(params=["hidden", "installed"])
def libraries(request, monkeypatch):
    for name in ("pydantic", "msgspec", "annotated_types"):
        if request.param == "hidden":
            monkeypatch.setitem(sys.modules, name, None)
        else:
            try:
                importlib.import_module(name)
            except ImportError:
                pass


def command_of(annotation, name="value"):
    def handler(**arguments):
        return arguments

    def signature(value):
        pass

    signature.__annotations__ = {"value": annotation}
    handler.__wrapped__ = signature
    return Command("handler", handler, False)


def convert(annotation, value):
    command = command_of(annotation)
    arguments = {"value": value}
    command.check(arguments)
    return command.call(**arguments)["value"]


def errors_of(annotation, value):
    with pytest.raises(CallRejection) as raised:
        convert(annotation, value)
    assert raised.value.kind == "bad_arguments"
    assert all(error.keys() == {"loc", "msg", "type"} and error["loc"][0] == "value" for error in raised.value.errors)
    return [(error["loc"][1:], error["type"], error["msg"]) for error in raised.value.errors], raised.value.message


def same(left, right):
    return type(left) is type(right) and left == right and repr(left) == repr(right)


@pytest.mark.parametrize("annotation,value,expected", FITS, ids=lambda each: str(each)[:40])
def test_a_value_that_fits_is_converted(libraries, annotation, value, expected):
    assert same(convert(annotation, value), expected)


@pytest.mark.parametrize("annotation,value,expected", ERRORS, ids=lambda each: str(each)[:40])
def test_a_value_that_does_not_fit_is_refused(libraries, annotation, value, expected):
    errors, message = errors_of(annotation, value)
    if expected is not None:
        assert errors == expected
    assert message.startswith("handler: value") and errors[0][2] in message


def outcome(annotation, value):
    try:
        return repr(convert(annotation, value))
    except CallRejection as rejection:
        return rejection.errors, rejection.message


def test_the_generated_source_agrees_with_the_loop(monkeypatch):
    """The loop converts objects that lack a field, and the arguments of a handler with `**kwargs`."""
    rows = [(annotation, value) for table in (FITS, ERRORS) for annotation, value, _ in table]
    generated = [outcome(*row) for row in rows]
    monkeypatch.setattr(typed_records, "dataclass_converter", lambda *given: given[-1])
    monkeypatch.setattr(
        typed_arguments, "handler_caller", lambda *given: lambda **named: given[1](**given[-1].convert(named))
    )
    assert [outcome(*row) for row in rows] == generated


@dataclasses.dataclass
class Named:
    """Fields with the names that generated source uses."""

    v0: int
    value: str
    errors: int = 3
    construct: list = dataclasses.field(default_factory=list)
    convert: float | None = None

    def __post_init__(self):
        if self.v0 == 7:
            raise ValueError("seven")


@dataclasses.dataclass
class Spread:
    """A constructor of its own, whose other parameters have defaults."""

    a: int
    b: str = "b"

    def __init__(self, scale: int = 2, *, a: int, b: str = "other"):
        self.a, self.b = a * scale, b


@dataclasses.dataclass
class Registered:
    a: int
    b: int = 5

    def __new__(cls, **given):
        made = super().__new__(cls)
        made.given = given
        return made


@dataclasses.dataclass
class Untrue:
    """Defaults that do not have the type of their field: they are not converted."""

    a: dt.date = None
    b: str = 1


@pytest.mark.parametrize(
    "annotation,value,expected",
    [
        (Named, {"v0": 1, "value": "a"}, Named(1, "a")),
        (Named, {"v0": 1, "value": "a", "construct": [1], "convert": 2}, Named(1, "a", 3, [1], 2.0)),
        (Named, {"v0": 7, "value": "a"}, one([], "value_error", "Value error, seven")),
        (Named, {"v0": "a", "errors": "b"}, [(["v0"], *WRONG_INT), (["value"], *REQUIRED), (["errors"], *WRONG_INT)]),
        (Spread, {"a": 1}, Spread(a=1)),
        (Registered, {"a": 1}, Registered(a=1)),
        (Untrue, {}, Untrue()),
        (Untrue, {"b": 1}, one(["b"], "string_type", "Input should be a valid string")),
    ],
)
def test_a_dataclass_is_constructed_from_what_is_given(annotation, value, expected):
    if isinstance(expected, list):
        assert errors_of(annotation, value)[0] == expected
        return
    converted = convert(annotation, value)
    assert converted == expected and vars(converted) == vars(expected)


def test_the_names_around_a_class_are_collected_once(monkeypatch):
    """Not for each field: a class with 1000 fields would take seconds to load."""
    read = []
    for module, name in ((typed_records, "own_annotations"), (typed, "names_of")):
        original = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, original=original: read.append(given[0]) or original(*given))
    wide = dataclasses.make_dataclass("Wide", [(f"x{number}", int) for number in range(50)])
    convert(wide, {f"x{number}": number for number in range(50)})
    assert len(read) == 3 and read.count(wide) == 2


def decorated(function):
    @functools.wraps(function)
    def wrapper(*arguments, **named):
        return "decorated", function(*arguments, **named)

    return wrapper


def test_a_handler_gets_its_own_defaults():
    def handler(at: dt.date, *rest, v1: int = 1, arguments: str | None = None):
        return at.day, v1, arguments

    def plain(at: dt.date, size: int = 1, errors: str | None = None):
        return at.day, size, errors

    method = Holder().method
    for function, expected in [(handler, (5, 1, None)), (plain, (5, 1, None)), (method, (5, 1, None))]:
        for wrapped, result in [(function, expected), (decorated(function), ("decorated", expected))]:
            call = Command("handler", wrapped, False).call
            assert call(at="2026-01-05") == result
            with pytest.raises(
                CallRejection, match=r"it takes at, .* \(optional\), .* \(optional\) \(and 1 more error\)"
            ):
                call(at=1, other=1)
    assert Command("plain", plain, False).call(at="2026-01-05", errors="x", size=2) == (5, 2, "x")


class Holder:
    def method(self, at: dt.date, v1: int = 1, v2: str | None = None):
        return at.day, v1, v2


def test_a_traceback_shows_the_generated_source():
    try:
        convert(Derived, {"sku": "a", "price": 1, "code": 3, "key": True})
    except KeyError as error:
        shown = "".join(traceback.format_exception(error))
    assert "<herder Derived" in shown and "return construct(v0, v1, v2, v3, key=v4)" in shown


def test_a_conversion_that_is_interrupted_while_it_is_compiled_is_repeated(monkeypatch):
    command = command_of(Line)
    monkeypatch.setattr(typed_source.Source, "compile", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        command.call(value={"sku": "a", "price": 1})
    monkeypatch.undo()
    assert command.call(value={"sku": "a", "price": 1})["value"] == Line("a", 1.0)


PLAIN = [
    int,
    float,
    bool,
    str,
    None,
    list,
    dict,
    Any,
    object,
    int | None,
    int | str,
    float | None,
    int | float,
    list[Any],
]
VALUES = [None, True, 0, 1.5, 10**400, "a", [], [1], {}, {"a": 1}]


@pytest.mark.parametrize("annotation", PLAIN, ids=str)
def test_the_check_of_plain_types_agrees_with_the_compiled_types(annotation):
    """Plain types are checked by `Command.check` alone, which is quicker."""
    command = command_of(annotation)
    assert command.arguments is None and plain_types(annotation) is not None
    compiled = ArgumentConverter("handler", command.parameters, frozenset())
    for value in VALUES:
        try:
            expected = compiled.convert({"value": value})["value"]
        except CallRejection as rejection:
            with pytest.raises(CallRejection) as raised:
                convert(annotation, value)
            assert (raised.value.errors, raised.value.message) == (rejection.errors, rejection.message)
        else:
            assert same(convert(annotation, value), expected)


def test_all_errors_of_a_call_are_listed():
    def handler(order: Order, count: int, at: dt.date = dt.date.min): ...

    command = Command("place", handler, False)
    arguments = {"order": {"id": 1, "lines": [{"sku": 1}]}, "extra": 1, "at": "x"}
    command.check(arguments)
    with pytest.raises(CallRejection) as raised:
        command.call(**arguments)
    assert [(error["loc"], error["type"]) for error in raised.value.errors] == [
        (["order", "lines", 0, "sku"], "string_type"),
        (["order", "lines", 0, "price"], "missing"),
        (["count"], "missing"),
        (["at"], "date_parsing"),
        (["extra"], "extra_forbidden"),
    ]
    text = "place: unexpected argument 'extra'; it takes order, count, at (optional) (and 4 more errors)"
    assert raised.value.message == text
    with pytest.raises(CallRejection) as raised:
        command.call(order={"id": 1, "lines": [{"sku": "a", "price": "x"}]}, count=1)
    assert raised.value.message == "place: order.lines[0].price: Input should be a valid number"


def test_errors_are_bounded():
    errors, message = errors_of(list[int], ["a"] * 100_000)
    assert len(errors) == 50 and message.endswith("(and at least 49 more errors)")
    errors, _ = errors_of(dict[int, int], {"1" * 5000: 1})
    assert errors[0][0][0] == "1" * 197 + "..."
    errors, _ = errors_of(dict[str, int], {"\ud800" * 1000: "a"})
    assert len(errors[0][0][0]) == 200 and errors[0][0][0].isascii()


def test_arguments_for_kwargs_are_converted():
    def handler(a: int, **rest: dt.date):
        return a, rest

    command = Command("handler", handler, False)
    assert command.call(a=1, b="2026-01-31") == (1, {"b": dt.date(2026, 1, 31)})
    with pytest.raises(CallRejection, match="b: Input should be a valid date"):
        command.call(a=1, b=2)


def test_defaults_are_not_converted():
    def handler(at: dt.date = "today", line: Line = None):
        return at, line

    assert Command("handler", handler, False).call() == ("today", None)


def test_an_exception_of_post_init_is_that_of_the_handler():
    with pytest.raises(KeyError, match="code 3"):
        convert(Derived, {"sku": "a", "price": 1, "code": 3, "key": True})
    converted = convert(Derived, {"sku": "a", "price": 1, "key": True, "total": 9})
    assert converted.total == 2.0
    errors, _ = errors_of(Derived, {"sku": "a", "price": 1, "code": 2, "key": True})
    assert errors == one([], "assertion_error", "Assertion failed, code 2")


def test_code_of_the_application_runs_once_for_each_value():
    ran = []

    @dataclasses.dataclass
    class Counted:
        n: int

        def __post_init__(self):
            ran.append(self.n)

    errors, _ = errors_of(list[Counted], [{"n": 1}, {"n": "a"}, {"n": 2}])
    assert ran == [1, 2] and errors == one([1, "n"], *WRONG_INT)


def test_deep_nesting_is_refused():
    value = {"name": "a"}
    for _ in range(5000):
        value = {"name": "a", "children": [value]}
    errors, message = errors_of(Tree, value)
    assert errors == one([], "nested_too_deeply", "Input is nested too deeply")
    assert message == "handler: value: Input is nested too deeply"


def test_a_recursion_of_the_application_is_its_own_exception():
    @dataclasses.dataclass
    class Endless:
        def __post_init__(self):
            self.__post_init__()

    with pytest.raises(RecursionError):
        convert(Endless, {})


def test_an_iterator_of_other_metadata_is_ignored():
    class Alien:
        ge = property(lambda self: 3)

        def gt(self):
            raise AssertionError

    with pytest.raises(CallRejection, match="greater than or equal to 3"):
        convert(Annotated[int, Alien()], 2)


class Level(enum.IntEnum):
    LOW = 1

    @classmethod
    def _missing_(cls, value):
        return cls.LOW if value == "low" else None


def test_a_missing_member_is_not_one_of_an_equal_value():
    assert convert(Level, "low") is Level.LOW
    for value in (True, 1.0, 2, None):
        assert errors_of(Level, value)[0] == [([], "enum", "Input should be 1")]


class Mark(bytes, enum.Enum):
    A = b"a"


def test_the_error_of_bytes_shows_what_the_caller_should_send():
    assert errors_of(typing.Literal[b"a", "b"], "a")[0] == [([], "literal_error", "Input should be 'YQ==' or 'b'")]
    assert errors_of(Mark, "a")[0] == [([], "enum", "Input should be 'YQ=='")]


@dataclasses.dataclass
class Shadowing:
    @dataclasses.dataclass
    class Line:
        size: int

    line: "Line"


def test_strings_in_a_class_from_make_dataclass():
    """Before Python 3.12, its module is that of `make_dataclass`."""
    made = dataclasses.make_dataclass("made", [("at", "dt.date"), ("line", "Line | None"), "rest"])
    made.__module__ = "types"
    found = convert(made, {"at": "2026-01-31", "line": {"sku": "a", "price": 1}, "rest": [1]})
    assert (found.at, found.line, found.rest) == (dt.date(2026, 1, 31), Line("a", 1.0), [1])


@pytest.mark.skipif(sys.version_info < (3, 11), reason="`typing` of Python 3.11 has Self and Unpack")
def test_self_is_the_class_around_it():
    @dataclasses.dataclass
    class Node:
        next: "typing.Self | None" = None

    @dataclasses.dataclass
    class Named(Node):
        name: str = ""

    found = convert(Named, {"name": "a", "next": {"name": "b", "next": None}})
    assert found == Named(Named(None, "b"), "a")
    assert errors_of(Named, {"next": {"next": {"name": 1}}})[0] == one(
        ["next", "next", "name"], "string_type", "Input should be a valid string"
    )


def test_the_names_of_a_class_are_before_those_of_its_module():
    @dataclasses.dataclass
    class Tree:
        trees: "list[Tree]" = dataclasses.field(default_factory=list)

    assert convert(Shadowing, {"line": {"size": 1}}).line == Shadowing.Line(1)
    assert type(convert(Tree, {"trees": [{}]}).trees[0]) is Tree


def test_a_default_that_describes_one_is_refused():
    def handler(value: list = dataclasses.field(default_factory=list)):  # noqa: B008
        pass

    with pytest.raises(TypeError, match="the default of 'value' is a Field of dataclasses, and the handler would get"):
        Command("handler", handler, False)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs the syntax of Python 3.12")
def test_aliases_and_type_parameters_of_python_3_12():
    names = {}
    exec(
        "type Numbers[K] = dict[K, list[int]]\n"
        "type Nested = list[Nested] | int\n"
        "import dataclasses\n"
        "@dataclasses.dataclass\nclass Crate[V]:\n    value: 'V'\n    rest: 'list[Crate[V]]'\n"
        "import datetime\n"
        "def first[D: datetime.date](days: 'list[D]'):\n    return days[0]\n",
        names,
    )
    assert convert(names["Numbers"][int], {"1": [2]}) == {1: [2]}
    assert Command("first", names["first"], False).call(days=["2026-01-31"]) == dt.date(2026, 1, 31)
    assert convert(names["Nested"], [1, [2, [3]]]) == [1, [2, [3]]]
    assert "int_type" in [type for _, type, _ in errors_of(names["Nested"], [1, ["a"]])[0]]
    crate = names["Crate"]
    assert convert(crate[int], {"value": 1, "rest": [{"value": 2, "rest": []}]}).rest[0].value == 2
    assert errors_of(crate[int], {"value": 1, "rest": [{"value": "a", "rest": []}]})[0][0][0] == ["rest", 0, "value"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="`typing` of Python 3.11 has Required and NotRequired")
def test_required_and_not_required_keys():
    class partial(TypedDict, total=False):  # noqa: N801
        a: typing.Required[int]
        b: "typing.NotRequired[int]"

    assert convert(partial, {"a": 1}) == {"a": 1}
    assert errors_of(partial, {"b": 1})[0] == one(["a"], *REQUIRED)


def test_dates_have_the_meaning_that_python_gives_them():
    """`fromisoformat` of Python 3.11 serves as the reference."""
    texts = [
        "2026-01-31T08:40:01.1234567Z",
        "2026-01-31 08:40",
        "2026-01-31T08:40:01-0130",
        "2026-12-31T23:59:59,5+00:00",
    ]
    for text in texts:
        if sys.version_info >= (3, 11):
            assert same(convert(dt.datetime, text), dt.datetime.fromisoformat(text))


def test_bytes_are_the_inverse_of_base64():
    for size in range(64):
        data = bytes(range(size))
        assert convert(bytes, base64.b64encode(data).decode()) == data


@dataclasses.dataclass
class Left:
    inner: "Left | Right | list[Left] | list[Right] | None"
    left: int = 0


@dataclasses.dataclass
class Right:
    inner: "Left | Right | list[Left] | list[Right] | None"
    right: int = 0


def test_a_wrong_value_deep_in_a_recursive_union_is_refused_at_once():
    """Each of the 60 levels would be tried twice as often as the one around it."""
    for inner in ("wrong", None):
        value = {"inner": inner}
        for level in range(60):
            value = {"inner": [value] if level % 2 else value}
        if inner is None:
            assert isinstance(convert(Left | Right, value), Left)
            assert isinstance(convert(Left | Right, {**value, "right": 1}), Right)
        else:
            assert len(errors_of(Left | Right, value)[0]) == 50
    command = command_of(Left | Right)
    with pytest.raises(CallRejection):
        command.call(value={"inner": 1})
    assert command.arguments.outcomes and not any(command.arguments.outcomes)


def test_what_a_union_remembers_belongs_to_one_thread():
    """A call in one thread must not make the conversion of another thread convert its values again."""
    command = command_of(Left | Right)
    outcomes = command.arguments.outcomes[0]
    outcomes.known[1] = (None, None, None)
    thread = threading.Thread(target=command.call, kwargs={"value": {"inner": None}})
    thread.start()
    thread.join()
    assert len(outcomes) == 1
