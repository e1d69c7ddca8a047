"""Nodes of models that another library validates by its own rules: pydantic 2 and msgspec. No state.

The libraries are imported only here, and only if the app has such a model. A list of models is Herder's own list.
"""

from __future__ import annotations

import re
import sys

from herder.argument_errors import InvalidValue
from herder.text import text
from herder.typed_containers import KEY
from herder.typed_nodes import Node, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def is_pydantic(annotation: Any) -> bool:
    """Whether pydantic validates this class: a model, one of its dataclasses, or one of its own types."""
    return isinstance(annotation, type) and (
        hasattr(annotation, "__pydantic_validator__")
        or hasattr(annotation, "__get_pydantic_core_schema__")
        or (hasattr(annotation, "__fields__") and hasattr(annotation, "parse_obj"))  # version 1
    )


def is_msgspec(annotation: Any) -> bool:
    """Whether the class is a `msgspec.Struct`."""
    return isinstance(annotation, type) and hasattr(annotation, "__struct_fields__")


def pydantic_node(annotation: Any) -> Node:
    """Return the node of a model, or of any annotation that only pydantic can read. Raises `Unsupported`."""
    name = getattr(annotation, "__name__", None) or repr(annotation)
    try:
        from pydantic import TypeAdapter, ValidationError  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise Unsupported(f"{name} needs pydantic version 2: `pip install 'pydantic>=2'`") from None
    if hasattr(annotation, "parse_obj") and not hasattr(annotation, "__pydantic_validator__"):
        raise Unsupported(f"{name} is a model of pydantic version 1; derive it from the BaseModel of version 2")
    try:
        # As FastAPI: Python objects, not the JSON text, are validated.
        validate = TypeAdapter(annotation).validate_python
        # That of a base class, as of a standard dataclass that extends one of pydantic, would return the base class.
        validate_now = getattr(annotation, "__dict__", {}).get("__pydantic_validator__")
        if validate_now is not None:
            validate = validate_now.validate_python  # without the calls of the adapter
    except Exception as error:
        raise Unsupported(f"pydantic cannot validate {name}: {text(error)}") from None

    def convert(value: Any) -> Any:
        try:
            return validate(value)
        except ValidationError as error:
            raise _from_pydantic(error) from None

    fields = getattr(annotation, "model_fields", None) or getattr(annotation, "__pydantic_fields__", None) or {}
    aliases = [alias for each in fields.values() if isinstance(alias := getattr(each, "alias", None), str)]
    return Node("pydantic", convert, label=name, annotation=annotation, values=(*fields, *aliases), hashable=None)


def _from_pydantic(error: Any) -> InvalidValue:
    invalid = InvalidValue("", "")
    invalid.errors = [
        (
            each["type"],
            each["msg"],
            [key if type(key) in (int, str) else text(key) for key in reversed(each["loc"])],
        )
        for each in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    return invalid


def msgspec_node(annotation: Any) -> Node:
    """Return the node of a `Struct`, which may have type arguments. Raises `Unsupported`."""
    cls = getattr(annotation, "__origin__", annotation)
    try:
        msgspec = sys.modules["msgspec"]
        msgspec.json.Decoder(annotation)  # compiles the type
        convert_struct, error_type = msgspec.convert, msgspec.ValidationError
    except Exception as error:
        raise Unsupported(f"msgspec cannot validate {cls.__name__}: {text(error)}") from None

    def convert(value: Any) -> Any:
        try:
            return convert_struct(value, annotation, str_keys=True)
        except error_type as error:
            raise _from_msgspec(text(error)) from None

    keys = tuple(cls.__struct_encode_fields__)
    return Node("msgspec", convert, label=cls.__name__, annotation=annotation, values=keys, hashable=None)


PLACE = re.compile(r"\[([0-9]+)\]|\[\.\.\.\]|\.([^.\[]+)")
IN_KEY = "key` in `"
MISSING_FIELD = "Object missing required field `"


def _from_msgspec(sentence: str) -> InvalidValue:
    """Return the error that msgspec describes as ``Expected `int`, got `str` - at `$.lines[0].price` ``."""
    message, at, place = sentence.rpartition(" - at `")
    if not at:
        message, place = sentence, ""
    path = _parse_place(place.rstrip("`").removeprefix(IN_KEY))
    if place.startswith("key`"):
        path.append(KEY)
    if message.startswith(MISSING_FIELD):
        invalid = InvalidValue("missing", "Field required").within(message[len(MISSING_FIELD) :].rstrip("`"))
    else:
        invalid = InvalidValue("value_error", message)
    for key in reversed(path):
        invalid.within(key)
    return invalid


def _parse_place(place: str) -> list[str | int]:
    """Parse `.lines[0].price`. A key of a dictionary is `[...]`, since msgspec does not tell which one."""
    return [int(index) if index else name or "[...]" for index, name in PLACE.findall(place)]
