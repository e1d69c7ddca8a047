"""The context of a call: its own copy of what `on_start` left, so that no call sees what another one has set."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import Context
    from typing import Any

DECIMAL = ("_decimal", "_pydecimal")  # where `decimal` keeps its context; only one of them is ever loaded


def copy_for_call(base: Context) -> Context:
    """Return a copy of `base` for one call or hook.

    A decimal context is an object that the copy would share, so it is copied as well if `decimal` is loaded.
    """
    context = base.copy()
    for name in DECIMAL:
        decimal = sys.modules.get(name)
        if decimal is not None:
            context.run(_copy_decimal, decimal)
    return context


def _copy_decimal(decimal: Any) -> None:
    decimal.setcontext(decimal.getcontext().copy())
