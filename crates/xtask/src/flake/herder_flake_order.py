"""A plugin of pytest: tests in the order of FLAKE_SEED, and an event of each printed in libtest's form (events.rs)."""

import json
import os
import random

import pytest

# Before pytest captures what tests print.
EVENTS = os.fdopen(os.dup(1), "w", buffering=1)


def tell(name, event, **more):
    EVENTS.write("\n" + json.dumps({"type": "test", "event": event, "name": name, **more}) + "\n")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    random.Random(int(os.environ["FLAKE_SEED"])).shuffle(items)


def pytest_runtest_logstart(nodeid):
    tell(nodeid, "started")


def pytest_runtest_logreport(report):
    if report.failed:
        sections = "".join(f"\n--- {title}\n{text}" for title, text in report.sections)
        tell(report.nodeid, "failed", stdout=f"{report.when}\n{report.longreprtext}{sections}")
    elif report.skipped:
        tell(report.nodeid, "ignored")
    elif report.when == "call":
        tell(report.nodeid, "ok")


def pytest_sessionfinish(exitstatus):
    EVENTS.write("\n" + json.dumps({"type": "suite", "event": "failed" if exitstatus else "ok"}) + "\n")
