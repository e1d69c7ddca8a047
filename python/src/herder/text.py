"""Converts objects of the application to text, and bounds how deep C code recurses into them.

Such an object runs its own code when it is printed: it may raise anything, return a subclass of `str`, or recurse
without end. The functions here handle all of this.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

LIMIT = 8 * 1024  # characters of a text
# Levels of nested values, and of calls while something is printed. 3.10 and 3.11 count calls of C code and of Python
# with one limit for all threads; with a raised one, C code overflows an 8 MiB stack at 50,000 to 100,000 levels. So a
# raised limit is lowered meanwhile. A thread of the application that runs just then with more calls than that on its
# stack gets a `RecursionError`: nearly never while C code encodes or decodes, since that holds the GIL; to print may
# run Python code, hence the larger number.
NESTED = 1000
PRINTED = 5000
ONE_LIMIT = sys.version_info < (3, 12)  # later versions count calls of C code by themselves, with a fixed limit

name_of: Callable[[type], str] = type.__dict__["__name__"].__get__  # a metaclass may override the attribute
_slice = str.__getitem__  # of a subclass of `str` too it gives a `str`, and runs no code of that class


def text(value: object, limit: int = LIMIT) -> str:
    """Return `str(value)` as an exact `str` of valid Unicode, with `limit` characters at most. Never raises."""
    try:
        return escape_surrogates(_slice(with_recursion_limit(PRINTED, str, value), slice(limit)))
    except BaseException:  # also an exception that another thread raised in this one
        return f"<unprintable {type_name(value)} object>"


def type_name(value: object) -> str:
    """Return the name of the type of `value` as an exact `str`."""
    return escape_surrogates(_slice(name_of(type(value)), slice(LIMIT)))


def escape_surrogates(whole: str) -> str:
    r"""Return `whole` with each half of a surrogate pair, which UTF-8 cannot hold, as an escape: `\ud800`."""
    return whole.encode("utf-8", "backslashreplace").decode()


def with_recursion_limit(levels: int, function: Callable[[Any], T], argument: Any) -> T:
    """Call `function` with a recursion limit of at most `levels`. Raises `RecursionError` beyond it."""
    limit = sys.getrecursionlimit()
    if not ONE_LIMIT or limit <= levels:
        return function(argument)
    try:
        _lower(levels)
        return function(argument)
    finally:  # CPython raises no exception from outside before this call has returned
        sys.setrecursionlimit(limit)


def _lower(levels: int) -> None:
    """Set the recursion limit to `levels`; higher where more calls than that are on the stack already."""
    while True:
        try:
            return sys.setrecursionlimit(levels)
        except RecursionError:
            levels *= 2
