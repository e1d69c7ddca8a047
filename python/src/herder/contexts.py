"""The context of a call: a copy of the one after `on_start`, so that no call sees the changes of another call."""

from __future__ import annotations

import sys

from herder import error_frames

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


class OpenTelemetry:
    """Continues the traces of callers, if the application's environment has OpenTelemetry."""

    def __init__(self) -> None:
        self.attach: Any = None
        self.extract: Any = None
        self.is_searched = False

    def keep_trace(self, traces: dict[int, Any], wire_id: int, headers: dict[str, str]) -> None:
        """Keep the context in which a call with these headers runs, if it belongs to a trace."""
        if "traceparent" not in headers:
            return
        if not self.is_searched:
            self._search()
        if self.extract is not None:
            traces[wire_id] = self.extract(headers)

    def _search(self) -> None:
        # At the first call that belongs to a trace, so that other workers do not pay for the import.
        self.is_searched = True
        try:
            from opentelemetry import context, propagate  # type: ignore[import-not-found]
        except ImportError:
            return
        except Exception as error:
            error_frames.log(f"herder: traces do not continue in handlers: importing opentelemetry failed: {error!r}")
            return
        self.attach, self.extract = context.attach, propagate.extract

    def enter(self, context: Context, trace: Any) -> None:
        """Make the trace the current one in the context of its call, which no other call has."""
        if trace is not None:
            context.run(self.attach, trace)


open_telemetry = OpenTelemetry()


def _copy_decimal(decimal: Any) -> None:
    decimal.setcontext(decimal.getcontext().copy())
