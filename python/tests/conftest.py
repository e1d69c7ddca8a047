"""Fixtures that end their workers after the test."""

import os
import signal

import pytest

from host import FakeHost, write_app

# A shell ignores these signals in what it runs in the background, and the workers would inherit that. The real host
# starts its workers with default dispositions.
for ignored in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(ignored) is signal.SIG_IGN:
        signal.signal(ignored, signal.SIG_DFL)

# What a developer has set for Herder, Python and loguru does not count: workers inherit the variables of the tests.
CHOICES = ("PYTHONDEVMODE", "PYTHONWARNINGS", "LOGURU_LEVEL", "LOGURU_AUTOINIT")
for name in [name for name in os.environ if name.startswith("HERDER_") or name in CHOICES]:
    del os.environ[name]


@pytest.fixture
def start(tmp_path):
    """A function that starts a worker of an application (its source, or a target) and waits until it is ready."""
    hosts = []

    def start(app, wait=True, **options):
        target = app if app.endswith(":app") else write_app(tmp_path, app, f"workers_{len(hosts)}.py")
        host = FakeHost(target, **options)
        hosts.append(host)
        return host.ready() if wait else host

    yield start
    for host in hosts:
        host.__exit__()
