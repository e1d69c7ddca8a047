"""`breakpoint()` in a worker: with a terminal that the host lends, and without one."""

import os
import pty
import select
import socket
import sys

import pytest

from host import SOURCE, TIMEOUT, write_app

APP = """
@app.command
def price():
    amount = 3
    breakpoint()
    amount += 1
    return amount
"""
# Starts the worker in a session of its own with this terminal.
WITH_TERMINAL = """
import os, sys
os.setsid()
os.close(os.open(sys.argv[1], os.O_RDWR))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class Lender:
    """The part of `herder dev`: the terminal, and the socket by which the worker asks for it."""

    def __init__(self, folder):
        self.path = str(folder / "terminal")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        self.listener.settimeout(TIMEOUT)
        self.keyboard, self.terminal = pty.openpty()
        self.screen = ""

    def command(self, target):
        """Return the command of a worker with this terminal."""
        worker = [str(SOURCE / "herder" / "__main__.py"), target]
        return [sys.executable, "-c", WITH_TERMINAL, os.ttyname(self.terminal), *worker]

    def accept(self):
        """Wait until a debugger asks for the terminal."""
        connection = self.listener.accept()[0]
        connection.settimeout(TIMEOUT)
        return connection

    def until(self, text):
        """Read what is shown up to this text."""
        while text not in self.screen:
            shown = select.select([self.keyboard], [], [], TIMEOUT)[0]  # noqa: TID251 (fails instead of hanging)
            assert shown, self.screen
            self.screen += os.read(self.keyboard, 4096).decode()
        self.screen = self.screen.partition(text)[2]

    def close(self):
        """Close all descriptors."""
        self.listener.close()
        os.close(self.keyboard)
        os.close(self.terminal)


@pytest.fixture
def lender(tmp_path):
    lender = Lender(tmp_path)
    yield lender
    lender.close()


@pytest.fixture
def worker(start, lender, tmp_path):
    env = {"HERDER_TERMINAL": lender.path, "TERM": "dumb", "PYTHONBREAKPOINT": ""}
    return start("unused:app", command=lender.command(write_app(tmp_path, APP)), env=env, log="info")


def test_stepping_keeps_the_terminal_until_the_handler_has_returned(worker, lender):
    worker.send("price")
    connection = lender.accept()
    connection.sendall(b"+")
    lender.until("(Pdb) ")
    # Typed ahead. The last one leaves the handler: the debugger must not wait for input in Herder's code.
    steps = 4 if sys.version_info >= (3, 13) else 3  # since 3.13, pdb stops in the line with `breakpoint()`
    os.write(lender.keyboard, b"p amount * 100\n" + steps * b"n\n")
    lender.until("300")
    lender.until("--Return--")
    assert worker.answer().result == 4
    assert connection.recv(1) == b""
    worker.send("price")
    again = lender.accept()
    again.sendall(b"+")
    lender.until("(Pdb) ")
    os.write(lender.keyboard, b"amount = 50\nc\n")
    assert worker.answer().result == 51
    assert again.recv(1) == b""


def test_a_host_in_the_background_refuses_the_terminal(worker, lender):
    worker.send("price")
    lender.accept().close()
    assert "`herder dev` is not in the foreground" in worker.answer().error["message"]


@pytest.mark.parametrize("value", ["", "0"])
def test_without_a_terminal_breakpoint_says_what_to_do(start, value):
    answer = start(APP, env={"PYTHONBREAKPOINT": value}).call("price")
    if value == "0":
        assert answer.result == 4
    else:
        assert "run the app with `herder dev` at a terminal" in answer.error["message"]
