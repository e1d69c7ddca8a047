"""Converts objects of the application to text, and limits how deeply C code recurses into them.

Such an object runs its own code when it is printed: it may raise any exception, return a subclass of `str`, or recurse
without end. The functions of this file handle all of that.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

MAX_TEXT = 8 * 1024  # characters
# Limits for the levels of nested values, and for the depth of calls while an object is printed. Python 3.10 and 3.11
# have one limit for calls of C code and of Python code, which applies to all threads. If the application has raised it,
# C code overflows an 8 MiB stack at 50,000 to 100,000 levels. So a raised limit is lowered for a moment. A thread of
# the application with a deeper stack that runs at that moment gets a `RecursionError`. That is very unlikely while C
# code encodes or decodes, since it holds the GIL. Printing may run Python code, so its limit is higher.
MAX_NESTING = 1000
PRINT_RECURSION_LIMIT = 5000
SHARED_RECURSION_LIMIT = sys.version_info < (3, 12)  # later versions have a separate, fixed limit for C code

_type_name_of: Callable[[type[Any]], str] = type.__dict__["__name__"].__get__  # a metaclass may override the attribute
_slice = str.__getitem__  # returns a plain `str` for a subclass of `str` too, and runs no code of that class


def text(value: object, limit: int = MAX_TEXT) -> str:
    """Return `str(value)` as an exact `str` of valid Unicode with at most `limit` characters. Never raises."""
    try:
        return escape_surrogates(_slice(with_recursion_limit(PRINT_RECURSION_LIMIT, str, value), slice(limit)))
    except BaseException:  # including an exception that another thread raised in this one
        return f"<unprintable {type_name(value)} object>"


def type_name(value: object) -> str:
    """Return the name of the type of `value` as an exact `str`."""
    return escape_surrogates(_slice(_type_name_of(type(value)), slice(MAX_TEXT)))


def escape_surrogates(value: str) -> str:
    r"""Replace each lone surrogate, which UTF-8 cannot encode, by an escape such as `\ud800`."""
    return value.encode("utf-8", "backslashreplace").decode()


def with_recursion_limit(levels: int, function: Callable[[Any], T], argument: Any) -> T:
    """Call `function` with a recursion limit of at most `levels`. Raises `RecursionError` beyond it."""
    limit = sys.getrecursionlimit()
    if not SHARED_RECURSION_LIMIT or limit <= levels:
        return function(argument)
    try:
        _lower_recursion_limit(levels)
        return function(argument)
    finally:  # the limit is restored before CPython can raise an asynchronous exception here: see `descriptor_io`
        sys.setrecursionlimit(limit)


def _lower_recursion_limit(levels: int) -> None:
    """Set the recursion limit to `levels`, or to a higher value if the stack is already deeper."""
    while True:
        try:
            return sys.setrecursionlimit(levels)
        except RecursionError:
            levels *= 2
