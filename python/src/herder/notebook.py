"""`notebook.run`: a session is a Python namespace, code runs in it, its output and last value come back.

It runs whatever it is sent. Herder serves it only where that was allowed on purpose.
"""

from __future__ import annotations

import io
import sys

import herder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any

OUTPUT_LIMIT = 64 * 1024  # characters kept of what the code printed
VALUE_LIMIT = 64 * 1024  # bytes of a value that comes back as it is; a larger one comes as its repr, cut
SOURCES = 256  # runs whose source lines a traceback can show

_filenames: list[str] = []


class Output(io.TextIOBase):
    """What the code prints, up to a bound; the rest is counted."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.room = OUTPUT_LIMIT
        self.lost = 0

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, text: str) -> int:
        """Keep what there is room for."""
        kept = text[: self.room]
        if kept:
            self.parts.append(kept)
        self.room -= len(kept)
        self.lost += len(text) - len(kept)
        return len(text)

    def text(self) -> str:
        """All of it."""
        return "".join(self.parts) + (f"\n... {self.lost} more characters" if self.lost else "")


def run(code: str, session: herder.Session) -> dict[str, Any]:
    """Run `code` in the session's namespace.

    Answers `output`, `value` (of the last expression: as JSON, or its repr), and `error` when the code raised.
    """
    namespace = session.state.setdefault("namespace", {"__name__": "__main__"})
    session.state["runs"] = session.state.get("runs", 0) + 1
    output, value, error = Output(), None, None
    streams = sys.stdout, sys.stderr
    sys.stdout = sys.stderr = output
    try:
        value = _presentable(_execute(code, f"<{session.id}:{session.state['runs']}>", namespace))
    except herder.Interrupted:
        raise
    except BaseException as raised:
        error = _described(raised)
    finally:
        sys.stdout, sys.stderr = streams
    answer = {"output": output.text(), "value": value}
    return answer if error is None else {**answer, "error": error}


def _execute(code: str, filename: str, namespace: dict[str, Any]) -> Any:
    import ast

    _remember(filename, code)
    tree = ast.parse(code, filename)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    body: CodeType = compile(tree, filename, "exec")
    expression = compile(ast.Expression(last.value), filename, "eval") if isinstance(last, ast.Expr) else None
    exec(body, namespace)
    return eval(expression, namespace) if expression is not None else None


def _remember(filename: str, code: str) -> None:
    """Let tracebacks show the lines of this run."""
    import linecache

    _filenames.append(filename)
    linecache.cache[filename] = (len(code), None, code.splitlines(True), filename)
    while len(_filenames) > SOURCES:
        linecache.cache.pop(_filenames.pop(0), None)


def _presentable(value: Any) -> Any:
    """The value itself if it has a JSON form of a fair size, else its repr."""
    from herder.codec import encode
    from herder.errors import Refusal

    try:
        if len(encode(value)) <= VALUE_LIMIT:
            return value
    except Refusal:
        pass
    return repr(value)[:VALUE_LIMIT]


def _described(error: BaseException) -> dict[str, str]:
    """Type, message and the traceback from the code's own first line on."""
    from herder import answers

    tb = error.__traceback__
    while tb is not None and tb.tb_frame.f_code.co_filename == __file__:
        tb = tb.tb_next
    return {
        "type": type(error).__name__,
        "message": answers.text(error),
        "traceback": answers.traceback_of(error.with_traceback(tb)),
    }


def register(app: herder.App) -> None:
    """Add `notebook.run` to an app."""
    app.command(name="notebook.run")(run)


app = herder.App()
register(app)
