"""The forms in JSON of the types of numpy and pandas, and ISO 8601 durations. Neither numpy nor pandas is imported."""

from __future__ import annotations

from herder.errors import NoForm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

DOUBLE_SIZE = 8  # bytes of the largest float of numpy that fits a Python float
NOT_A_TIME = -(2**63)  # numpy's NaT as an integer
SECONDS = {"W": 604800, "D": 86400, "h": 3600, "m": 60}  # of the units of numpy that are longer than a second
DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9, "ps": 12, "fs": 15, "as": 18}


def duration(total: int, digits: int) -> str:
    """Return `total`, in units of 10^-`digits` seconds, as an ISO 8601 duration: `-P1DT2H3M4.5S`."""
    seconds, fraction = divmod(abs(total), 10**digits)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    decimals = f".{fraction:0{digits}}".rstrip("0") if fraction else ""
    time = "".join(f"{count}{unit}" for count, unit in ((hours, "H"), (minutes, "M")) if count)
    time += f"{seconds}{decimals}S" if seconds or decimals or not (time or days) else ""
    return ("-" if total < 0 else "") + "P" + (f"{days}D" if days else "") + (f"T{time}" if time else "")


def _array(value: Any) -> Any:
    """Return an array as nested lists, and a scalar as the value of Python that it stands for."""
    dtype = value.dtype
    kind = dtype.kind
    if kind in "biuUSOT":
        return value.tolist()
    if kind == "f":
        return value.tolist() if dtype.itemsize <= DOUBLE_SIZE else value.astype("float64").tolist()
    if kind == "M":
        return _map(_datetime64, value.astype(str).tolist())
    if kind == "m":
        return _durations(value, dtype.str.partition("[")[2].rstrip("]"))
    raise NoForm(f"numpy values of dtype {dtype} cannot be encoded as JSON; convert them to other values")


def _durations(value: Any, step: str) -> Any:
    """Return the form of `timedelta64` values that count steps such as `25s`."""
    unit = step.lstrip("0123456789")
    if unit not in SECONDS and unit not in DIGITS:
        raise NoForm(f"a numpy duration in the unit {unit or 'generic'} has no fixed length; convert it to days")
    factor, digits = int(step[: -len(unit)] or 1) * SECONDS.get(unit, 1), DIGITS.get(unit, 0)

    def form(count: int) -> str | None:
        return None if count == NOT_A_TIME else duration(count * factor, digits)

    return _map(form, value.astype("int64").tolist())


def _map(function: Callable[[Any], Any], value: Any) -> Any:
    return [_map(function, each) for each in value] if type(value) is list else function(value)


def _datetime64(text: str) -> str | None:
    """Shorten the fraction as `datetime.isoformat` does: to none, 6 digits, or 9."""
    seconds, dot, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    if text == "NaT" or not fraction:
        return None if text == "NaT" else seconds
    return seconds + dot + fraction.ljust(6 if len(fraction) <= 6 else 9, "0")


def _tolist(value: Any) -> Any:
    return value.tolist()


def _records(value: Any) -> Any:
    if not value.columns.is_unique:
        raise NoForm("a DataFrame with two columns of one name cannot be encoded as records; rename one of them")
    return value.to_dict(orient="records")


def _timedelta(value: Any) -> str:
    seconds = value.days * 86400 + value.seconds
    return duration(seconds * 10**9 + value.microseconds * 1000 + value.nanoseconds, 9)


def _arrow_records(value: Any) -> Any:
    from herder.arrow import as_records

    return as_records(value)


def _null(_: Any) -> None:
    return None


FORMS: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("numpy", "ndarray"): _array,
    ("numpy", "generic"): _array,
    ("pandas", "Series"): _tolist,
    ("pandas", "Index"): _tolist,
    ("pandas", "ExtensionArray"): _tolist,
    ("pandas", "DataFrame"): _records,
    ("pandas", "Timedelta"): _timedelta,
    ("pandas", "Period"): str,
    ("pandas", "NaTType"): _null,
    ("pandas", "NAType"): _null,
    ("pyarrow", "Table"): _arrow_records,
    ("pyarrow", "RecordBatch"): _arrow_records,
}
