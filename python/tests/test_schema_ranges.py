"""Schemas of classes with their own constructors, and of types with a range: they accept what the commands accept."""

import dataclasses
import datetime as dt
import decimal

import pytest

import herder
from herder import typed_schemas, typed_times, typed_values
from herder.codec import decode
from herder.testing import CallError, Client
from test_schemas import accepts, command_of, described, validator_of


@dataclasses.dataclass
class Converted:
    """The constructor takes other types than the fields have, and has other defaults."""

    count: int
    at: dt.date = dt.date(2026, 1, 31)
    note: str = "field"

    def __init__(self, at: "str", count: int = 2, *, note: str):
        self.at, self.count, self.note = dt.date.fromisoformat(at), count, note


def test_a_constructor_of_the_application_decides_what_its_class_takes():
    def handler(value: Converted) -> Converted:
        return value

    entry = described(handler)
    taken, returned = (entry[part]["$defs"]["Converted"] for part in ("parameters", "result"))
    assert taken["required"] == ["at", "note"]
    assert taken["properties"]["at"] == {"type": "string"} and "default" not in taken["properties"]["note"]
    assert taken["properties"]["count"] == {"type": "integer", "default": 2}
    assert returned["required"] == ["count", "at", "note"] and returned["properties"]["at"]["format"] == "date"
    app = herder.App()
    app.command(handler)
    with Client(app) as client:
        value = client.call("handler", value={"at": "2026-02-01", "note": "a"})
        assert value == {"count": 2, "at": "2026-02-01", "note": "a"}
        with pytest.raises(CallError) as failed:
            client.call("handler", value={"count": 1})
    assert [each["loc"] for each in failed.value.errors] == [["value", "at"], ["value", "note"]]


def test_the_ranges_of_durations_and_decimals_are_in_their_schemas():
    assert (typed_schemas.DURATION, typed_schemas.MAX_SECONDS) == (typed_times.DURATION, typed_times.MAX_SECONDS)
    assert typed_values.NUMBER.pattern == typed_schemas.NUMBER
    days = [10**8 - 1, 10**8, 10**9 - 2, 10**9 - 1, 10**9]
    times = ["", "T0S", "T1S", "T23H59M59.9S", "T24H", "T60M", "T60S", "T999999999H99999999999M999999999999S"]
    texts = [
        f"{sign}P{weeks}{each}D{time}"
        for sign in ("", "-")
        for weeks in ("", "99999999W")
        for each in days
        for time in times
    ]
    numbers = [sign * (typed_times.MAX_SECONDS + more) for sign in (1, -1) for more in (0, 1, 1.0)]
    agree(dt.timedelta, [*texts, *numbers])
    for extreme in (dt.timedelta.max, dt.timedelta.min):
        text = decode(herder.App()._encode()(extreme))
        assert typed_times.to_timedelta(text) == extreme
    agree(
        decimal.Decimal,
        [f"{digits}e{exponent}" for digits in ("1", "9" * 5000, "-.5") for exponent in (10**6 - 1, 10**6, -(10**6))],
    )
    agree(dict[dt.timedelta, int], [{each: 1} for each in texts])


def agree(annotation, values):
    """Check that the schema accepts exactly what the command accepts: some of the values, and not all."""
    app = herder.App()
    app.command(command_of(annotation))
    validator = validator_of(described(command_of(annotation))["parameters"])
    command = app._commands()["handler"]
    outcomes = [(accepts(command, value), validator.is_valid({"value": value})) for value in values]
    assert [fits for fits, _ in outcomes] == [valid for _, valid in outcomes]
    assert {fits for fits, _ in outcomes} == {True, False}
