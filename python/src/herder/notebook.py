"""`notebook.run`: runs code in the namespace of its session and returns its output and its last value.

It runs any code that a caller sends. The demo app has it only if `HERDER_ALLOW_CODE` is 1. Each session has its own
namespace. Everything else is shared by the sessions of a worker: modules, `os.environ`, the current folder,
`sys.stdout`, signal handlers and threads. Code in one session can read and change every other session of its worker.
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

OUTPUT_LIMIT = 64 * 1024  # characters of the output that are kept
REPR_LIMIT = 64 * 1024  # bytes of the repr of a value of a type that JSON does not have
SOURCES = 256  # the number of runs whose source lines tracebacks can show
RESERVE = 0.1  # the fraction of a call's remaining time that is reserved for its answer
RESERVE_MAX = 1.0  # the maximum of that, in seconds
RESIGNAL_INTERVAL = 0.01  # seconds between signals while an interrupt is not delivered

_filenames: list[str] = []


class CapturedOutput(io.TextIOBase):
    """Keeps what the code prints, up to a limit. The rest is only counted."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.remaining = OUTPUT_LIMIT
        self.dropped = 0

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Keep `text` as far as the limit allows, and count the rest. Raises `TypeError` if it is not a `str`."""
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        kept = text[: self.remaining]
        if kept:
            self.parts.append(kept)
        self.remaining -= len(kept)
        self.dropped += len(text) - len(kept)
        return len(text)

    def text(self) -> str:
        """Return the output, and how many characters are missing."""
        return _escape_surrogates("".join(self.parts)) + (
            f"\n... {self.dropped} more characters" if self.dropped else ""
        )


class CellTimer:
    """Interrupts the running cell once when its time limit has passed, and never after `__exit__`.

    Outside a worker (`herder.testing.Client`) there is no limit.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self.id = calls.running  # 0 outside of a worker
        self.main = get_ident()
        self.finished = allocate_lock()  # held until the cell has ended
        self.decision = allocate_lock()  # protects `ended` and `reached`
        self.ended = self.reached = False

    def __enter__(self) -> CellTimer:
        if self.seconds is not None and self.id > 0:
            self.finished.acquire()
            try:
                start_new_thread(self.watch, (max(self.seconds, 0),))
            except RuntimeError:  # no more threads can be started: only the deadline of the call applies
                self.finished.release()
        return self

    def __exit__(self, *_: object) -> None:
        # The cell may end while the thread is about to interrupt it. The lock decides which of the two comes first. If
        # the thread has marked the call already, the mark is removed: a late interrupt must not hit the answer.
        with self.decision:
            self.ended = True
            if self.reached:
                calls.cancelled.pop(self.id, None)
        if self.finished.locked():
            self.finished.release()

    def watch(self, seconds: float) -> None:
        """Mark the call when the time limit has passed, and signal until the cell is interrupted."""
        if self.finished.acquire(timeout=seconds):
            return self.finished.release()
        with self.decision:
            if self.ended:
                return None
            self.reached = True
            calls.cancel(self.id, True)
        while not self.ended and calls.running == self.id and calls.cancelled.get(self.id):
            signal.pthread_kill(self.main, signal.SIGUSR2)
            if self.finished.acquire(timeout=RESIGNAL_INTERVAL):
                return self.finished.release()
        return None


def run(code: str, session: herder.Session, timeout: float | None = None) -> dict[str, Any]:
    """Run `code` in the session's namespace for at most `timeout` seconds, and end it before the call's deadline.

    Returns `output`, `value` (of the last expression) with its `kind` ("json" for the value itself, "repr" for its
    repr), `truncated` (the number of missing bytes of the repr), and `error` if the code raised or exceeded its limit.
    """
    if timeout is not None and not timeout > 0:
        raise herder.Rejected("`timeout` is invalid; allowed: a number of seconds above 0", code="timeout")
    namespace = session.state.setdefault("namespace", {"__name__": "__main__"})
    session.state["runs"] = session.state.get("runs", 0) + 1
    filename = f"<{session.id}:{session.state['runs']}>"
    output, limit = CapturedOutput(), CellTimer(_seconds(timeout))
    fields: dict[str, Any] = {"value": None, "kind": "json"}
    error = None
    streams = _streams_to_restore()
    sys.stdout = sys.stderr = output
    try:
        with limit:
            fields = _json_or_repr(_execute(code, filename, namespace))
    except herder.Interrupted as interrupted:
        if not limit.reached:
            raise  # the call was cancelled: the answer is not used
        error = {
            **_describe_error(interrupted),
            "type": "Timeout",
            "message": f"the cell exceeded its time limit of {limit.seconds:.3g} s",
        }
    except BaseException as raised:
        error = _describe_error(raised)
    finally:
        sys.stdout, sys.stderr = streams
    answer = {"output": output.text(), **fields}
    return answer if error is None else {**answer, "error": error}


def _seconds(timeout: float | None) -> float | None:
    """Return the time limit of the cell. Its answer must arrive before the call's deadline, or it is dropped."""
    left = herder.current_call().deadline if calls.running else None
    if left is None:
        return timeout
    left -= min(left * RESERVE, RESERVE_MAX)
    return left if timeout is None else min(left, timeout)


def _streams_to_restore() -> tuple[Any, Any]:
    """Return the streams to restore after the run."""
    # They may be the `CapturedOutput` of an earlier run, if an interrupt came before its `finally` had restored them.
    out, err = sys.stdout, sys.stderr
    out = sys.__stdout__ if isinstance(out, CapturedOutput) else out
    return out, sys.__stderr__ if isinstance(err, CapturedOutput) else err


def _execute(code: str, filename: str, namespace: dict[str, Any]) -> Any:
    import ast

    _cache_source(filename, code)
    tree = ast.parse(code, filename)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    body: CodeType = compile(tree, filename, "exec")
    expression = compile(ast.Expression(last.value), filename, "eval") if isinstance(last, ast.Expr) else None
    exec(body, namespace)
    return eval(expression, namespace) if expression is not None else None


def _cache_source(filename: str, code: str) -> None:
    """Add the code to `linecache`, so that tracebacks show its lines."""
    import linecache

    _filenames.append(filename)
    linecache.cache[filename] = (len(code), None, code.splitlines(True), filename)
    while len(_filenames) > SOURCES:
        linecache.cache.pop(_filenames.pop(0), None)


def _json_or_repr(value: Any) -> dict[str, Any]:
    """Return the value if JSON has its types, else its repr up to a limit and the number of missing bytes."""
    from herder.codec import encode
    from herder.errors import CallRejection

    try:
        encode(value)
        return {"value": value, "kind": "json"}
    except CallRejection:
        pass
    encoded = _escape_surrogates(repr(value)).encode()
    text = encoded[:REPR_LIMIT].decode(errors="ignore")
    fields: dict[str, Any] = {"value": text, "kind": "repr"}
    missing = len(encoded) - len(text.encode())
    return {**fields, "truncated": missing} if missing else fields


def _escape_surrogates(text: str) -> str:
    """Replace lone surrogates, which JSON cannot hold, by escapes (`\\ud800`)."""
    return text.encode(errors="backslashreplace").decode()


def _describe_error(error: BaseException) -> dict[str, str]:
    """Return the type, the message and the traceback of an error, with the frames of the code only."""
    from herder import error_frames

    return {
        "type": type(error).__name__,
        "message": _escape_surrogates(error_frames.text(error)),
        "traceback": _escape_surrogates(
            error_frames.format_traceback(error.with_traceback(_user_traceback(error.__traceback__)))
        ),
    }


def _user_traceback(tb: TracebackType | None) -> TracebackType | None:
    """Return the traceback without the frames of this file at its start and those of an interrupt at its end."""
    frames: list[TracebackType] = []
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
