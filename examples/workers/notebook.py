"""A code interpreter: each session has a Python namespace, which stays with its worker.

It runs any code that a caller sends. Serve it on loopback only, and with a token.
Try it: `HERDER_TOKEN=secret herder serve examples/workers/notebook.py:app --enhanced --pool-size 4`, then
`HERDER_TOKEN=secret herder call notebook run '{"code": "x = 20; x + 1"}' --session ann`

Sessions have separate namespaces and share the rest of the process: modules, the environment, the current folder,
`sys.stdout` and threads. They are not isolated.

`herder.notebook:app` in the package does more: it limits the output and the time, returns values as JSON if possible
and errors as results, and shows source lines in tracebacks.
"""
import ast
import contextlib
import io
from typing import Any

import herder

app = herder.App()

@app.command
def run(code: str, session: herder.Session) -> dict[str, Any]:
    """Run `code` in the session's namespace. Return its output and the repr of its last expression."""
    namespace = session.state.setdefault("namespace", {"__name__": "__main__"})
    try:
        tree = ast.parse(code)
    except SyntaxError as error:
        raise herder.Rejected(f"line {error.lineno}: {error.msg}", code="syntax") from None  # rejects the call: 422
    last = tree.body[-1] if tree.body else None
    value = None
    with contextlib.redirect_stdout(io.StringIO()) as output:  # all other output goes to the log
        if isinstance(last, ast.Expr):
            tree.body.pop()
        exec(compile(tree, "<code>", "exec"), namespace)  # an exception is the call's error: 500, with its traceback
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "<code>", "eval"), namespace)
    return {"output": output.getvalue(), "repr": None if value is None else repr(value)}

@app.command(idempotent=True)
def names(session: herder.Session) -> list[str]:
    """Return the names that the session has defined."""
    return sorted(name for name in session.state.get("namespace", {}) if not name.startswith("__"))

@app.on_session_end
def forget(session: herder.Session, reason: str) -> None:
    print(f"{session.id} {reason}: {len(session.state.get('namespace', {}))} names are dropped")
