"""`notebook.run`: a session is a Python namespace, code runs in it, its output and last value come back.

It runs any code it is sent. The demo app has it only where `HERDER_ALLOW_CODE` is 1. Each session has its own
namespace. Everything else belongs to one process: modules, `os.environ`, the current folder, `sys.stdout`, signal
handlers and threads. Code in one session can read and change every other session of its worker.
"""

from __future__ import annotations

import io
import signal
import sys
from _thread import allocate_lock, get_ident, start_new_thread

import herder
from herder.call import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, TracebackType
    from typing import Any

OUTPUT_LIMIT = 64 * 1024  # characters kept of what the code printed
REPR_LIMIT = 64 * 1024  # bytes of the repr of a value that has no JSON form
SOURCES = 256  # runs whose source lines a traceback can show
RESERVE = 0.1  # the share of a call's remaining time that is reserved for its answer,
RESERVE_MAX = 1.0  # and the most seconds
RESIGNAL_INTERVAL = 0.01  # seconds between two signals, when the first one met Herder's own code

_filenames: list[str] = []


class CapturedOutput(io.TextIOBase):
    """What the code prints, up to a bound; the rest is counted."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.room = OUTPUT_LIMIT
        self.lost = 0

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Keep as much as there is room for, and count the rest. Raises `TypeError` for what is no text."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        kept = text[: self.room]
        if kept:
            self.parts.append(kept)
        self.room -= len(kept)
        self.lost += len(text) - len(kept)
        return len(text)

    def text(self) -> str:
        """Return what was kept, and how many characters were not."""
        return _clean("".join(self.parts)) + (f"\n... {self.lost} more characters" if self.lost else "")


class CellTimer:
    """Interrupts the cell that runs on the main thread when its time is up: once, and never after `__exit__`.

    Without a worker around it (`herder.testing.Client`) there is no limit.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self.id = calls.running  # 0 outside of a worker
        self.main = get_ident()
        self.over = allocate_lock()  # held until the cell has ended
        self.gate = allocate_lock()  # whoever holds it decides whether the cell ended in time
        self.ended = self.reached = False

    def __enter__(self) -> CellTimer:
        if self.seconds is not None and self.id > 0:
            self.over.acquire()
            try:
                start_new_thread(self.watch, (max(self.seconds, 0),))
            except RuntimeError:  # no more threads may be started: only the call's own deadline applies
                self.over.release()
        return self

    def __exit__(self, *_: object) -> None:
        with self.gate:
            self.ended = True
            if self.reached:
                calls.cancelled.pop(self.id, None)  # not delivered yet: it must not interrupt the answer
        if self.over.locked():
            self.over.release()

    def watch(self, seconds: float) -> None:
        """Mark the call when the time is up, and signal until the cell has been interrupted."""
        if self.over.acquire(timeout=seconds):
            return self.over.release()
        with self.gate:
            if self.ended:
                return None
            self.reached = True
            calls.cancel(self.id, True)
        while not self.ended and calls.running == self.id and calls.cancelled.get(self.id):
            signal.pthread_kill(self.main, signal.SIGUSR2)
            if self.over.acquire(timeout=RESIGNAL_INTERVAL):
                return self.over.release()
        return None


def run(code: str, session: herder.Session, timeout: float | None = None) -> dict[str, Any]:
    """Run `code` in the session's namespace for at most `timeout` seconds, and never until the call's deadline.

    Returns `output`, `value` (of the last expression) with its `kind`, "json" for the value itself or "repr" for its
    repr, `truncated` (how many bytes of the repr are missing), and `error` when the code raised or ran out of time.
    """
    if timeout is not None and not timeout > 0:
        raise herder.Rejected("`timeout` is invalid; expected a number of seconds above 0", code="timeout")
    namespace = session.state.setdefault("namespace", {"__name__": "__main__"})
    session.state["runs"] = session.state.get("runs", 0) + 1
    filename = f"<{session.id}:{session.state['runs']}>"
    output, limit = CapturedOutput(), CellTimer(_seconds(timeout))
    shown: dict[str, Any] = {"value": None, "kind": "json"}
    error = None
    streams = _streams()
    sys.stdout = sys.stderr = output
    try:
        with limit:
            shown = _presentable(_execute(code, filename, namespace))
    except herder.Interrupted as interrupted:
        if not limit.reached:
            raise  # its caller has left: no one reads the answer
        error = {
            **_described(interrupted),
            "type": "Timeout",
            "message": f"the cell exceeded its time limit of {limit.seconds:.3g} s",
        }
    except BaseException as raised:
        error = _described(raised)
    finally:
        sys.stdout, sys.stderr = streams
    answer = {"output": output.text(), **shown}
    return answer if error is None else {**answer, "error": error}


def _seconds(timeout: float | None) -> float | None:
    """Return how long the cell may run: its answer has to arrive before the call's deadline, or it is dropped."""
    left = herder.current_call().deadline if calls.running else None
    if left is None:
        return timeout
    left -= min(left * RESERVE, RESERVE_MAX)
    return left if timeout is None else min(left, timeout)


def _streams() -> tuple[Any, Any]:
    """Return the streams to restore. An interrupt may have left the `CapturedOutput` of an earlier run in place of them."""
    out, err = sys.stdout, sys.stderr
    return sys.__stdout__ if isinstance(out, CapturedOutput) else out, sys.__stderr__ if isinstance(err, CapturedOutput) else err


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


def _presentable(value: Any) -> dict[str, Any]:
    """Return the complete value if it has a JSON form; else its repr, up to a bound, and how much of it is missing."""
    from herder.codec import encode
    from herder.errors import CallRejection

    try:
        encode(value)
        return {"value": value, "kind": "json"}
    except CallRejection:
        pass
    whole = _clean(repr(value)).encode()
    text = whole[:REPR_LIMIT].decode(errors="ignore")
    shown: dict[str, Any] = {"value": text, "kind": "repr"}
    missing = len(whole) - len(text.encode())
    return {**shown, "truncated": missing} if missing else shown


def _clean(text: str) -> str:
    """Return text that JSON can hold: lone surrogates become escapes (`\\ud800`)."""
    return text.encode(errors="backslashreplace").decode()


def _described(error: BaseException) -> dict[str, str]:
    """Type, message and the traceback of the code's own frames."""
    from herder import answers

    return {
        "type": type(error).__name__,
        "message": _clean(answers.text(error)),
        "traceback": _clean(answers.traceback_of(error.with_traceback(_trimmed(error.__traceback__)))),
    }


def _trimmed(tb: TracebackType | None) -> TracebackType | None:
    """Return the frames of the code: without those of this file before, and of an interrupt after them."""
    frames = []
    while tb is not None:
        frames.append(tb)
        tb = tb.tb_next
    while frames and frames[-1].tb_frame.f_globals.get("__package__") == "herder":
        frames.pop()
    for each in reversed(frames):
        if each.tb_frame.f_code.co_filename == __file__:
            break
        tb = type(each)(tb, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return tb


def register(app: herder.App) -> None:
    """Add `notebook.run` to an app."""
    app.command(name="notebook.run")(run)


app = herder.App()
register(app)
