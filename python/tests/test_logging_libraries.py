"""R40: records of loguru and structlog reach the host without configuration."""

from importlib.util import find_spec

import pytest

ASYNC = "\n@app.command\nasync def makes_it_asyncio(): pass\n"
BOTH = pytest.mark.parametrize("more", ["", ASYNC], ids=["sync", "asyncio"])

needs_loguru = pytest.mark.skipif(find_spec("loguru") is None, reason="loguru is not installed")
needs_structlog = pytest.mark.skipif(find_spec("structlog") is None, reason="structlog is not installed")

LOGURU = """
from loguru import logger

@app.command
def buy(n: int):
    logger.bind(n=n).success("order {}", n)
    logger.debug("detail")
    try: {}["key"]
    except KeyError: logger.exception("lost")
"""


@needs_loguru
@BOTH
def test_loguru_needs_no_configuration(start, more):
    host = start(LOGURU + more, log="info")
    wire_id = host.send("buy", session="ann", n=7)
    host.answer()
    success, lost = host.record(), host.record()
    module = success.pop("logger")
    assert module.startswith("workers_")
    assert success == {
        "level": "info",
        "level_name": "SUCCESS",
        "message": "order 7",
        "fields": {"n": 7},
        "attempt": wire_id,
        "command": "buy",
        "session": "ann",
    }
    assert lost["level"] == "error"
    assert lost["traceback"].endswith("KeyError: 'key'")
    host.shutdown()
    assert host.wait_for_exit() == (0, "", "")


@needs_loguru
@pytest.mark.parametrize("own", ["", "logger.add(own.append, level='ERROR', format='{message}')"], ids=["alone", "own"])
def test_the_host_changes_the_level_of_loguru(start, own):
    """R50: of the sink that stands for loguru's own, and of no other."""
    app = f"""
from loguru import logger
own = []
{own}

@app.command
def details(at: int):
    while logger._core.min_level != at: time.sleep(0.001)
    logger.debug("detail")
    logger.error("end")
    return [str(each).strip() for each in own]
"""
    host = start(app, log="info")
    seen = []
    for number, (level, at) in enumerate([("debug", 10), ("warn", 30)], 1):
        host.log_level(level)
        assert host.call("details", at=at).result == (["end"] * number if own else [])
        seen.append([each["message"] for each in host.records(until="end")])
    assert seen == [["detail", "end"], ["end"]]


@needs_loguru
@pytest.mark.parametrize("remove", ["logger.remove()", "logger.remove(0)", "logger.configure(handlers=[])"])
def test_the_configuration_of_loguru_has_its_usual_effect(start, remove):
    host = start(f"{LOGURU}\n{remove}\nlogger.add(sys.stderr, format='{{message}}', level='SUCCESS')", log="info")
    host.call("buy", n=7)
    host.shutdown()
    _, _, err = host.wait_for_exit()
    assert err.startswith("order 7\nlost\nTraceback ")
    host.log_socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        host.record()


STRUCTLOG = """
import structlog
log = structlog.get_logger()

@app.command
def buy(n: int):
    log.bind(n=n).warning("order", tea=True)
    log.debug("detail")
    try: {}["key"]
    except KeyError: log.exception("lost")
    return structlog.is_configured()
"""


@needs_structlog
@BOTH
def test_structlog_needs_no_configuration(start, more):
    host = start(STRUCTLOG + more, log="info")
    wire_id = host.send("buy", session="ann", n=7)
    assert host.answer().result is False
    order, lost = host.record(), host.record()
    assert order.pop("logger").startswith("workers_")
    assert order == {
        "level": "warn",
        "message": "order",
        "fields": {"n": 7, "tea": True},
        "attempt": wire_id,
        "command": "buy",
        "session": "ann",
    }
    assert lost["level"] == "error"
    assert lost["traceback"].endswith("KeyError: 'key'")
    host.shutdown()
    assert host.wait_for_exit() == (0, "", "")


@needs_structlog
@pytest.mark.parametrize("configure", ["configure", "configure_once"])
def test_the_configuration_of_structlog_has_its_usual_effect(start, configure):
    app = f"{STRUCTLOG}\nstructlog.{configure}(processors=[structlog.processors.JSONRenderer()])"
    host = start(app, log="info")
    host.call("buy", n=7)
    host.shutdown()
    _, out, err = host.wait_for_exit()
    assert out.startswith('{"n": 7, "tea": true, "event": "order"}\n')
    assert err == ""
