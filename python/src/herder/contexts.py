"""The context of a call: a copy of the one after `on_start`, so that no call sees the changes of another call."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import Context
    from typing import Any

DECIMAL = ("_decimal", "_pydecimal")  # the implementations of `decimal`, which has loaded one of them


def copy_for_call(base: Context) -> Context:
    """Return a copy of `base` for one call or hook.

    The copy would share the decimal context, which is a mutable object. So that is copied too if `decimal` is loaded.
    """
    context = base.copy()
    for name in DECIMAL:
        decimal = sys.modules.get(name)
        if decimal is not None:
            context.run(_copy_decimal, decimal)
    return context


def _copy_decimal(decimal: Any) -> None:
    decimal.setcontext(decimal.getcontext().copy())
