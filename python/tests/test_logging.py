"""R40, R66, R69: records of `logging`, loguru and structlog reach the host with their fields and disturb no call."""

import pytest

from host import TIMEOUT

ASYNC = "\n@app.command\nasync def makes_it_asyncio(): pass\n"
BOTH = pytest.mark.parametrize("more", ["", ASYNC], ids=["sync", "asyncio"])

LOG = """
import logging
log = logging.getLogger("shop.db")

@app.command
def warn(text: str):
    log.warning(text)

@app.command
def end():
    log.error("the end")
"""


@BOTH
def test_a_record_has_its_level_its_fields_and_the_call(start, more):
    app = """
@app.command
def buy(n: int):
    log.error("order %d of %s", n, "tea", extra={"n": n, "who": {"name": "ann", "tags": (1, None)}, "at": object})
"""
    host = start(LOG + app + more, log="info")
    wire_id = host.send("buy", session="ann", n=7)
    assert host.answer().result is None
    record = host.record()
    assert record.pop("fields") == {
        "n": 7,
        "who": {"name": "ann", "tags": [1, None]},
        "at": "<class 'object'>",
    }
    assert record == {
        "level": "error",
        "logger": "shop.db",
        "message": "order 7 of tea",
        "attempt": wire_id,
        "command": "buy",
        "session": "ann",
    }


@BOTH
def test_each_of_several_calls_that_arrive_together_is_named(start, more):
    host = start(LOG + more, log="info", pipeline=8)
    calls = [host.pack_call("warn", b'{"text": "a"}', session=f"s{n}") for n in range(5)]
    host.calls.sendall(b"".join(data for _, data in calls))
    host.answers(5)
    records = [host.record() for _ in range(5)]
    assert [(each["attempt"], each["session"], each["command"]) for each in records] == [
        (wire_id, f"s{n}", "warn") for n, (wire_id, _) in enumerate(calls)
    ]


def test_a_large_call_is_named(start):
    host = start(LOG, log="info")
    host.call("warn", text="x" * 200_000, session="ann")
    record = host.record()
    assert (record["command"], record["session"]) == ("warn", "ann")
    assert record["message"] == "x" * 8192 + "..."


@BOTH
def test_tracebacks_stacks_and_unusual_levels(start, more):
    app = """
@app.command
def fail():
    try: {}["key"]
    except KeyError: log.exception("lost", stack_info=True)
    log.critical("worse", exc_info=ValueError("reason"))
    log.log(25, "between")
"""
    host = start(LOG + app + more, log="info")
    host.call("fail")
    lost, worse, between = (host.record() for _ in range(3))
    assert lost["level"] == "error"
    assert lost["traceback"].startswith("Traceback (most recent call last):\n")
    assert lost["traceback"].endswith("KeyError: 'key'")
    assert "in fail" in lost["stack"]
    assert (worse["level"], worse["level_name"], worse["traceback"]) == ("error", "CRITICAL", "ValueError: reason")
    assert (between["level"], between["level_name"]) == ("info", "Level 25")


DICT_CONFIG = "from logging.config import dictConfig; dictConfig({'version': 1, 'disable_existing_loggers': "
ROOT = "'handlers': {'h': {'class': 'logging.StreamHandler'}}, 'root': {'handlers': ['h']}"
ALL, ERRORS, NOTHING = ["text", "the end"], ["the end"], []


@pytest.mark.parametrize("late", [False, True], ids=["import", "handler"])
@pytest.mark.parametrize(
    ("configuration", "expected"),
    [
        ("pass", ALL),
        ("logging.basicConfig()", ALL),
        ("logging.basicConfig(level=logging.ERROR)", ERRORS),
        ("logging.basicConfig(stream=sys.stdout, format='%(message)s')", ALL),
        ("logging.basicConfig(); logging.getLogger().handlers[0].setLevel('ERROR')", ERRORS),
        ("logging.basicConfig(); logging.getLogger().handlers[0].addFilter(lambda record: False)", NOTHING),
        ("logging.getLogger().setLevel(logging.WARNING + 5)", ERRORS),
        ("logging.getLogger('shop').addHandler(logging.NullHandler())", ALL),
        ("logging.getLogger('shop').addHandler(logging.StreamHandler())", ALL),
        ("log.addHandler(logging.StreamHandler()); logging.basicConfig()", ALL),
        ("log.propagate = False", ALL),
        ("log.propagate = False; log.addHandler(logging.NullHandler())", NOTHING),
        ("logging.disable(logging.WARNING)", ERRORS),
        (f"{DICT_CONFIG}True}})", NOTHING),
        (f"{DICT_CONFIG}False}})", ALL),
        (f"{DICT_CONFIG}False, {ROOT}}})", ALL),
        (f"{DICT_CONFIG}True, {ROOT}}})", NOTHING),
    ],
)
def test_the_configuration_of_the_application_has_its_usual_effect(start, configuration, expected, late):
    """Each record that would be printed becomes one record, and no line; in an import as in a handler."""
    host = start(LOG + ("\n@app.command\ndef configure():\n    " if late else "") + configuration, log="info")
    if late:
        host.call("configure")
    host.call("warn", text="text")
    host.call("end")
    host.shutdown()
    assert host.wait_for_exit() == (0, "", "")
    host.log_socket.setblocking(False)
    assert [host.record()["message"] for _ in expected] == expected
    with pytest.raises(BlockingIOError):
        host.record()


def test_files_and_redirected_streams_get_their_text(start, tmp_path):
    app = f"""
import contextlib, io
logging.basicConfig(filename={str(tmp_path / "log.txt")!r}, format="%(levelname)s %(message)s")

@app.command
def redirected():
    other = logging.getLogger("other")
    other.propagate = False
    with contextlib.redirect_stderr(io.StringIO()) as stream:
        other.addHandler(logging.StreamHandler())
        other.warning("to the stream")
    return stream.getvalue()
"""
    host = start(LOG + app, log="info")
    host.call("warn", text="to the file")
    assert host.call("redirected").result == "to the stream\n"
    host.shutdown()
    assert host.wait_for_exit() == (0, "", "")
    assert (tmp_path / "log.txt").read_text() == "WARNING to the file\n"
    host.log_socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        host.record()


def test_an_import_in_a_handler_is_noticed(start, tmp_path):
    """R66: `logging` is not imported by a worker that does not need it."""
    app = """
import herder, sys
app = herder.App()

@app.command
def late():
    loaded = "logging" in sys.modules
    import logging
    logging.getLogger("late").info("text")
    return loaded, repr(logging.__spec__.loader), logging.__loader__ is logging.__spec__.loader
"""
    (tmp_path / "late.py").write_text(app)
    host = start(f"{tmp_path / 'late.py'}:app", log="info")
    loaded, loader, same = host.call("late").result
    assert not loaded
    assert "SourceFileLoader" in loader
    assert same
    assert host.record()["logger"] == "late"


@BOTH
def test_what_does_not_fit_or_cannot_be_printed_is_not_lost(start, more):
    app = r"""
class Bad:
    def __str__(self): raise ValueError("no text")
    __repr__ = __str__

class Own(str):
    def __getitem__(self, _): raise ValueError
    def __str__(self): return self

class Logs:
    def __str__(self):
        log.info("from a __str__")
        return "nested"

@app.command
def odd():
    log.info("%d and %s", "one")
    log.info("%s", Bad())
    log.info(Bad())
    log.info("bad field", extra={"bad": Bad(), "huge": 2 ** 70, "nan": float("nan"), "own": Own("text")})
    log.info("surrogate \ud800 and \x00 and \x1b[2J")
    log.info("%s", Logs())
    loop = []; loop.append(loop)
    log.info("cycle", extra={"loop": loop})
    log.info("large", extra={str(n): "x" * 5000 for n in range(1000)})
    log.info("\x00" * 20000, exc_info=ValueError("\x00" * 20000), extra={"a": "\x00" * 20000})
    try: raise Bad2()
    except Bad2: log.exception("bad exception")

class Bad2(Exception):
    def __str__(self): raise ValueError
"""
    host = start(LOG + app + more, log="info")
    assert host.call("odd").result is None
    host.call("end")
    records = host.records("the end")
    messages = [record["message"] for record in records]
    assert messages[0].startswith("%d and %s (arguments that do not fit: ('one',); TypeError: ")
    assert "ValueError: no text" in messages[1]
    assert messages[2].startswith("<unprintable Bad object>")
    assert records[3]["fields"] == {
        "bad": "<unprintable Bad object>",
        "huge": str(2**70),
        "nan": "nan",
        "own": "text",
    }
    assert messages[4] == "surrogate ? and \x00 and \x1b[2J"
    assert messages[5:7] == ["from a __str__", "nested"]
    assert records[7]["fields"] == {"loop": [[[["[[...]]"]]]]}
    assert records[8]["fields"] == {"omitted": "the fields of this record are too large"}
    assert messages[9] == "\x00" * 1024 + "..."
    assert "Bad2" in records[10]["traceback"]
    assert len(records) == 12


@BOTH
def test_an_interrupt_while_an_argument_is_printed_ends_the_call(start, more):
    app = """
class Slow:
    def __str__(self):
        print("in")
        while True: pass

@app.command
def slow(): log.info("%s", Slow())
"""
    host = start(LOG + app + more, log="info")
    wire_id = host.send("slow")
    assert host.wait_for_line() == "in"
    host.cancel(wire_id, interrupt=True)
    assert host.answer().error_kind == "cancelled"
    host.call("end")
    assert host.record()["message"] == "the end"


def test_records_of_tasks_and_threads_belong_to_the_call_in_their_context(start):
    app = """
@app.command
async def spread(text: str):
    log.info("in the handler " + text)
    await asyncio.sleep(0)
    await asyncio.create_task(task(text))
    await asyncio.to_thread(log.info, "in a thread with the context " + text)
    thread = threading.Thread(target=log.info, args=("in a plain thread",))
    thread.start()
    thread.join()

async def task(text):
    await asyncio.sleep(0)
    log.info("in a task " + text)
"""
    host = start(LOG + app, log="info", concurrency=4)
    ids = {text: host.send("spread", text=text, session=text) for text in ("a", "b", "c")}
    host.answers(3)
    records = [host.record() for _ in range(12)]
    plain = [record for record in records if record["message"] == "in a plain thread"]
    assert [set(record) for record in plain] == [{"level", "logger", "message"}] * 3
    for record in records:
        if record not in plain:
            text = record["message"][-1]
            assert (record["attempt"], record["session"], record["command"]) == (ids[text], text, "spread")


def test_a_thread_of_a_sync_app_belongs_to_no_call(start):
    app = """
@app.command
def threaded():
    thread = threading.Thread(target=log.info, args=("text",))
    thread.start()
    thread.join()
"""
    host = start(LOG + app, log="info")
    host.call("threaded")
    assert host.record() == {"level": "info", "logger": "shop.db", "message": "text"}


@BOTH
def test_hooks_signal_handlers_and_the_exit(start, more):
    app = """
import atexit, signal
atexit.register(lambda: log.info("at exit"))
signal.signal(signal.SIGUSR1, lambda *_: log.info("in a signal handler"))

@app.on_start
def on_start(): log.info("in on_start")

@app.on_session_end
def on_end(session, reason): log.info("in on_session_end")

@app.command
def signalled(): os.kill(os.getpid(), signal.SIGUSR1)
"""
    host = start(LOG + app + more, log="info")
    wire_id = host.send("signalled", session="ann")
    host.answer()
    host.end_session("ann")
    host.call("end")
    host.shutdown()
    assert host.wait_for_exit() == (0, "", "")
    records = host.records("at exit")
    assert [(record["message"], record.get("attempt"), record.get("session")) for record in records] == [
        ("in on_start", None, None),
        ("in a signal handler", wire_id, "ann"),
        ("in on_session_end", None, "ann"),
        ("the end", wire_id + 1, None),
        ("at exit", None, None),
    ]


def test_an_async_hook_names_its_session(start):
    app = """
@app.on_session_end
async def on_end(session, reason):
    await asyncio.sleep(0)
    log.info("in the hook")
"""
    host = start(LOG + app, log="info")
    host.call("warn", text="x", session="ann")
    host.end_session("ann")
    host.record()
    assert host.record()["session"] == "ann"


@BOTH
def test_a_fork_is_not_taken_for_the_worker(start, more):
    app = """
import multiprocessing

def work(): log.info("in the child")

@app.command
def fork():
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join()
    log.info("in the worker")
    return child.pid
"""
    host = start(LOG + app + more, log="info")
    wire_id = host.send("fork", session="ann")
    pid = host.answer().result
    child, worker = host.record(), host.record()
    assert child == {"level": "info", "logger": "shop.db", "message": "in the child", "process": pid}
    assert worker["attempt"] == wire_id


@BOTH
def test_a_fork_that_has_closed_the_descriptor_writes_nothing_to_its_own_files(start, tmp_path, more):
    app = f"""
import multiprocessing, os
from herder.log_output import output

def work():
    file = os.open({str(tmp_path / "own")!r}, os.O_CREAT | os.O_WRONLY)
    os.dup2(file, output.fd)
    log.info("in the child")

@app.command
def fork():
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join()
    return child.exitcode
"""
    assert start(LOG + app + more, log="info").call("fork").result == 0
    assert (tmp_path / "own").read_bytes() == b""


@BOTH
def test_programs_and_their_environment_do_not_get_the_descriptor(start, more):
    app = """
import subprocess

@app.command
def inherits():
    found = subprocess.run([sys.executable, "-c", "import os; print(os.listdir('/proc/self/fd'))"], capture_output=True,
        text=True).stdout
    return [name for name in os.environ if name.startswith("HERDER")], found
"""
    host = start(LOG + app + more, log="info")
    names, found = host.call("inherits").result
    assert names == []
    assert len(eval(found)) <= 4  # three standard ones, and that of the folder


@BOTH
def test_a_host_that_does_not_read_delays_no_call(start, more):
    """R69: the records that do not fit are counted, and the next one that fits has the number."""
    app = """
@app.command
def flood(n: int):
    for _ in range(n): log.info("flood")
"""
    host = start(LOG + app + more, log="info")
    assert host.call("flood", n=5000).result is None
    received = 0
    host.log_socket.setblocking(False)
    try:
        while True:
            assert host.record()["message"] == "flood"
            received += 1
    except BlockingIOError:
        pass
    assert 0 < received < 5000
    host.log_socket.settimeout(TIMEOUT)
    host.call("end")
    assert host.record()["dropped"] == 5000 - received
    host.call("end")
    assert "dropped" not in host.record()


def test_the_number_of_dropped_records_is_sent_at_the_exit(start):
    host = start(LOG + "@app.command\ndef flood():\n    for _ in range(5000): log.info('flood')\n", log="info")
    host.call("flood")
    received = 0
    host.log_socket.setblocking(False)
    try:
        while host.record():
            received += 1
    except BlockingIOError:
        host.log_socket.settimeout(TIMEOUT)
    host.shutdown()
    assert host.record() == {"dropped": 5000 - received}


@BOTH
def test_a_closed_log_delays_and_fails_nothing(start, more):
    host = start(LOG + more, log="info")
    host.log_socket.close()
    for _ in range(3):
        assert host.call("warn", text="x").result is None
    host.shutdown()
    assert host.wait_for_exit() == (0, "", "")


@BOTH
def test_without_the_descriptor_everything_is_printed(start, more):
    """A host without this descriptor, or a program that is not a worker, sees what Python prints."""
    host = start(LOG + more)
    host.call("warn", text="text")
    host.shutdown()
    assert host.wait_for_exit() == (0, "", "text\n")


def test_warnings_are_records_if_the_application_captures_them(start):
    app = "import warnings\nlogging.captureWarnings(True)\n@app.command\ndef old(): warnings.warn('old', stacklevel=1)"
    host = start(LOG + app, log="info")
    host.call("old")
    record = host.record()
    assert (record["level"], record["logger"], record["command"]) == ("warn", "py.warnings", "old")


def test_the_modules_that_are_needed_later_are_loaded_at_the_start(start):
    """A hook may drop the rights to read the package."""
    app = """
@app.command
def loaded():
    before = set(sys.modules)
    import logging
    try: {}["key"]
    except KeyError: logging.getLogger("late").exception("text")
    return sorted(name for name in set(sys.modules) - before if name.startswith("herder"))
"""
    host = start(app, log="info")
    assert host.call("loaded").result == []
