"""`Meta`: constraints and descriptions in annotations. A worker imports this module only if the app uses it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Meta:
    """Constraints of a parameter or a field: `Annotated[int, herder.Meta(ge=1, description="how many")]`.

    `gt`, `ge`, `lt` and `le` bound numbers, dates, times and durations, `multiple_of` numbers, `min_length` and
    `max_length` the size of strings, bytes and containers. `pattern` is a regular expression that must be found in a
    string; anchor it with `^` and `$`.
    """

    __slots__ = (
        "description",
        "examples",
        "ge",
        "gt",
        "le",
        "lt",
        "max_length",
        "min_length",
        "multiple_of",
        "pattern",
    )

    def __init__(
        self,
        *,
        gt: Any = None,
        ge: Any = None,
        lt: Any = None,
        le: Any = None,
        multiple_of: Any = None,
        min_length: int | None = None,
        max_length: int | None = None,
        pattern: str | None = None,
        description: str | None = None,
        examples: list[Any] | None = None,
    ) -> None:
        self.gt = gt
        self.ge = ge
        self.lt = lt
        self.le = le
        self.multiple_of = multiple_of
        self.min_length = min_length
        self.max_length = max_length
        self.pattern = pattern
        self.description = description
        self.examples = examples

    def _given(self) -> dict[str, Any]:
        return {name: value for name in self.__slots__ if (value := getattr(self, name)) is not None}

    def __eq__(self, other: object) -> bool:
        return self._given() == other._given() if isinstance(other, Meta) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(map(repr, self._given().items())))

    def __repr__(self) -> str:
        return f"Meta({', '.join(f'{name}={value!r}' for name, value in self._given().items())})"
