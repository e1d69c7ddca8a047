"""The forms in JSON of types that JSON does not have. A form consists of values that JSON has, or that have a form.

A type is recognized by its name and its package, or by attributes of the type, never by an import: a result has the
same form whatever is installed, and a worker imports nothing for types that it does not use.
"""

from __future__ import annotations

from herder import result_arrays
from herder.result_arrays import duration
from herder.stdlib import import_stdlib
from herder.text import text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Form = Callable[[Any], Any]

b2a_base64: Callable[..., bytes] = import_stdlib("binascii").b2a_base64
mro_of: Callable[[type[Any]], tuple[type[Any], ...]] = type.__dict__[
    "__mro__"
].__get__  # a metaclass may override these
_dict_of: Callable[[type[Any]], Any] = type.__dict__["__dict__"].__get__
_module_of: Callable[[type[Any]], Any] = type.__dict__["__module__"].__get__
_qualname_of: Callable[[type[Any]], Any] = type.__dict__["__qualname__"].__get__


def find_form(kind: type[Any], to_json: Form) -> Form | None:
    """Return the function from a value of the type `kind` to its form, or None.

    The models of pydantic and msgspec pass values that these do not know to `to_json`.
    """
    bases = mro_of(kind)
    names = [(package_of(base), _qualname_of(base)) for base in bases]
    if ("enum", "Enum") in names:
        return _enum
    if declares(bases, "__pydantic_serializer__") and not _adds_fields(kind):
        return _pydantic_form(bases, to_json)
    if ("msgspec", "Struct") in names:
        return _msgspec_form(to_json)
    if declares(bases, "__attrs_attrs__"):
        return _fields_form([each.name for each in getattr(kind, "__attrs_attrs__")])  # noqa: B009 - not in typeshed
    if declares(bases, "__dataclass_fields__"):
        return _fields_form(_dataclass_fields(kind))
    form = next((FORMS[name] for name in names if name in FORMS), None)
    return _tensor if form is None and declares(bases, "__dlpack__") else form


def _adds_fields(kind: type[Any]) -> bool:
    """Whether it is a standard dataclass that extends one of pydantic, whose serializer does not know its fields."""
    own = _dict_of(kind)
    return "__dataclass_fields__" in own and "__pydantic_serializer__" not in own


def declares(bases: tuple[type[Any], ...], attribute: str) -> bool:
    """Whether a class among `bases` has the attribute. One that a metaclass makes up does not count."""
    return any(attribute in _dict_of(base) for base in bases)


def package_of(kind: type[Any]) -> str:
    """Return the name of the outermost package of a type: some types moved to other modules of their package."""
    module = _module_of(kind)
    return module.partition(".")[0] if type(module) is str else ""


def type_path(kind: type[Any]) -> str:
    """Return the name of a type as an application writes it: `socket.socket`, or `int`."""
    module, name = text(_module_of(kind)), text(_qualname_of(kind))
    return name.rpartition("<locals>.")[2] if module == "builtins" or "<locals>." in name else f"{module}.{name}"


# --- objects with fields ----------------------------------------------------------------------------------------------


def _enum(value: Any) -> Any:
    return value._value_  # not `value`, which a member may be called


def _fields_form(names: list[str]) -> Form:
    """Return the function from an object to a dict of its fields."""
    # Python normalizes other names than those of ASCII in source; `dataclasses` does not.
    if not all(name.isascii() and name.isidentifier() for name in names):
        return lambda value: {name: getattr(value, name) for name in names}
    # As source, it takes half the time of the loop.
    form: Form = eval(f"lambda value: {{{', '.join(f'{name!r}: value.{name}' for name in names)}}}", {})
    return form


def _dataclass_fields(kind: type[Any]) -> list[str]:
    """Return the names of the fields, without the class variables and `InitVar`s that are listed with them."""
    fields: dict[str, Any] = getattr(kind, "__dataclass_fields__")  # noqa: B009 - not in typeshed
    return [name for name, field in fields.items() if field._field_type.name == "_FIELD"]


def _pydantic_form(bases: tuple[type[Any], ...], to_json: Form) -> Form:
    """Return the form by the rules of pydantic, for a model or a dataclass of pydantic.

    Fields are written by alias: so pydantic reads them, and FastAPI writes them.
    """
    owner = next((base for base in bases if "model_dump" in _dict_of(base)), None)
    if owner is not None and package_of(owner) != "pydantic":  # overridden by the application
        return lambda value: value.model_dump(mode="json", by_alias=True)
    # As `model_dump`, which has no `fallback` before pydantic 2.11.
    return lambda value: value.__pydantic_serializer__.to_python(value, mode="json", by_alias=True, fallback=to_json)


def _msgspec_form(to_json: Form) -> Form:
    """Return the form by msgspec's rules for names, tags and defaults, with Herder's forms for the values."""
    # The application has imported msgspec, since its type is a `Struct`, and msgspec imports these modules.
    datetime, to_builtins = import_stdlib("datetime"), __import__("msgspec").to_builtins
    times = (datetime.datetime, datetime.date, datetime.time, datetime.timedelta)
    kept = (bytes, bytearray, memoryview, *times, import_stdlib("decimal").Decimal, import_stdlib("uuid").UUID)
    return lambda value: to_builtins(value, builtin_types=kept, enc_hook=to_json)


# --- single values ----------------------------------------------------------------------------------------------------


def _isoformat(value: Any) -> Any:
    return value.isoformat()


def _timedelta(value: Any) -> str:
    return duration((value.days * 86400 + value.seconds) * 10**6 + value.microseconds, 6)


def _decimal(value: Any) -> Any:
    return str(value) if value.is_finite() else float(str(value).lower().replace("snan", "nan"))


def _base64(value: Any) -> str:
    return b2a_base64(bytes(value), newline=False).decode()


def _tensor(value: Any) -> Any:
    from herder.tensors import as_list

    return as_list(value)


def _set(value: Any) -> Any:
    """Return a sorted list if possible: the order of a set of strings differs from process to process."""
    try:
        return sorted(value)
    except Exception:
        return list(value)


_lists = ("range", "dict_keys", "dict_values", "dict_items", "odict_keys", "odict_values", "odict_items")
_addresses = ("IPv4Address", "IPv4Interface", "IPv4Network", "IPv6Address", "IPv6Interface", "IPv6Network")
FORMS: dict[tuple[str, str], Form] = {
    ("datetime", "datetime"): _isoformat,
    ("datetime", "date"): _isoformat,
    ("datetime", "time"): _isoformat,
    ("datetime", "timedelta"): _timedelta,
    ("uuid", "UUID"): str,
    ("decimal", "Decimal"): _decimal,
    ("pathlib", "PurePath"): str,
    ("builtins", "bytes"): _base64,
    ("builtins", "bytearray"): _base64,
    ("builtins", "memoryview"): _base64,
    ("builtins", "set"): _set,
    ("builtins", "frozenset"): _set,
    ("builtins", "mappingproxy"): dict,
    ("collections", "deque"): list,
    ("collections", "UserList"): list,
    ("collections", "UserDict"): dict,
    ("collections", "ChainMap"): dict,
    ("array", "array"): list,
    **{("builtins", name): list for name in _lists},
    **{("ipaddress", name): str for name in _addresses},
    **result_arrays.FORMS,
}
