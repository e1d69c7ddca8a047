"""The level of log records: that of the host's log, also if it changes, and levels that the application sets."""

import os

import pytest

from test_logging import BOTH, LOG


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("trace", ["debug", "info", "warn"]),
        ("debug", ["debug", "info", "warn"]),
        ("info", ["info", "warn"]),
        ("warn", ["warn"]),
        ("error", []),
        ("off", []),
    ],
)
def test_the_hosts_level_is_that_of_the_root_logger(start, level, expected):
    app = """
@app.command
def all():
    log.debug("x"); log.info("x"); log.warning("x")
    return log.isEnabledFor(logging.DEBUG)
"""
    host = start(LOG + app, log=level)
    assert host.call("all").result == ("debug" in expected)
    host.shutdown()
    assert host.wait_for_exit() == (0, "", "")
    assert [host.record()["level"] for _ in expected] == expected
    host.log_socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        host.record()


LEVELS = """
import logging
from herder.log_hooks import HostLevel

def until(level):
    while logging.root.level != level: time.sleep(0.001)

@app.command
def details(until_level: int = 0):
    \"\"\"Log before and after the level has changed.\"\"\"
    logging.debug("before")
    print("waits", flush=True)
    if until_level: until(until_level)
    logging.debug("after")
    logging.error("end")
"""


@BOTH
def test_the_host_changes_the_level_while_a_handler_runs(start, more):
    """R50: logging, in every thread, has the new level; records below it are not made."""
    host = start(LEVELS + more, log="info")
    assert host.hello["log_level"]
    host.send("details", until_level=10)
    assert host.process.stdout.readline() == b"waits\n"
    host.log_level("debug")
    assert [each["message"] for each in host.records(until="end")] == ["after", "end"]
    host.answer()
    host.log_level("error")
    host.send("details", until_level=40)
    assert [each["message"] for each in host.records(until="end")] == ["end"]


def test_changes_while_the_lock_of_logging_is_held_take_one_thread(start, tmp_path):
    """R50: the last of many changes is applied when the application releases the lock, by the one thread that waits."""
    app = f"""
@app.command
def hold():
    with logging._lock:
        print("holds", flush=True)
        open({str(tmp_path / "held")!r}).close()  # a pipe: waits until the test opens it
"""
    os.mkfifo(tmp_path / "held")
    host = start(LEVELS + app, log="info")
    threads = threads_of(host)
    host.send("hold")
    assert host.process.stdout.readline() == b"holds\n"
    for _ in range(100):
        host.log_level("trace")
        host.log_level("debug")
    assert threads_of(host) == threads + 1
    open(tmp_path / "held", "w").close()
    host.answer()
    host.send("details", until_level=10)
    assert [each["message"] for each in host.records(until="end")][-2:] == ["after", "end"]


def threads_of(host):
    return len(os.listdir(f"/proc/{host.process.pid}/task"))


@pytest.mark.parametrize("configure", ["logging.root.setLevel(20)", "logging.basicConfig(level='INFO')"])
def test_the_host_does_not_change_a_level_that_the_application_has_set(start, configure):
    """R50: also if it is the one that the root logger had, and for a logger of its own."""
    app = (
        LEVELS
        + f"""
{configure}
assert type(logging.root.level) is not HostLevel
logging.getLogger("loud").setLevel(10)

@app.command
def loud(): logging.getLogger("loud").debug("loud")
"""
    )
    host = start(app, log="info")
    host.log_level("trace")
    host.call("loud")  # the level of the worker is no limit for it any more
    host.call("details")
    assert [each["message"] for each in host.records(until="end")] == ["loud", "end"]


def test_a_level_of_the_host_is_pickled_as_an_int(start):
    """R50: a process that the application starts unpickles it without this package, as `multiprocessing` does."""
    app = """
import copy, pickle

@app.command
def pickled(): return [b"herder" in pickle.dumps(logging.root.level, protocol) for protocol in range(5)]

@app.command
def copied(): return type(copy.copy(logging.root.level)) is int
"""
    host = start(LEVELS + app, log="info")
    assert host.call("pickled").result == [False] * 5
    assert host.call("copied").result


def test_a_level_of_the_host_is_that_of_an_import_that_follows(start, tmp_path):
    """R50: the application imports `logging` after the level has changed."""
    app = """
import herder, sys
app = herder.App()

@app.command
def detail():
    before = "logging" in sys.modules
    import logging
    logging.debug("detail")
    logging.error("end")
    return before
"""
    (tmp_path / "detail.py").write_text(app)
    host = start(f"{tmp_path}/detail.py:app", log="info")
    host.log_level("debug")
    assert host.call("detail").result is False
    assert [each["message"] for each in host.records(until="end")] == ["detail", "end"]


def test_a_logger_more_detailed_than_the_hosts_log_sends_nothing_in_vain(start):
    host = start(LOG + "log.setLevel(logging.DEBUG)\n@app.command\ndef detail(): log.debug('x')", log="info")
    host.call("detail")
    host.call("end")
    assert host.record()["message"] == "the end"
