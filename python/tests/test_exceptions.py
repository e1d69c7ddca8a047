"""R26: exceptions that the application raises at any step of the loop lose no byte and no session."""

import os
import random
import signal
import threading

import pytest

from host import write_app

ALARMS = 1000

# A command that raises exceptions in the main thread, which begin when it has returned. The last one prints "spent".
RAISE_ALARMS = """
import random, signal

class Late(Exception):
    pass

left = 0

def alarm(*_):
    global left
    left -= 1
    if left == 0:
        os.write(1, b"spent\\n")
    else:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0002, 0.003))
    raise Late

signal.signal(signal.SIGALRM, alarm)

@app.command
def alarms(count: int, seed: int) -> None:
    global left
    random.seed(seed)
    left = count
    signal.setitimer(signal.ITIMER_REAL, 0.001)
"""

APP = f"""{RAISE_ALARMS}
@app.command
def echo(n: int, text: str) -> list:
    return [n, text]

@app.command
def pid(session: herder.Session) -> list:
    session.state["n"] = session.state.get("n", 0) + 1
    return [os.getpid(), session.state["n"]]
"""


class CallLoad:
    """Sends many calls at once from a separate thread, and checks each answer."""

    def __init__(self, host, sizes, seed):
        self.host = host
        self.random = random.Random(seed)
        self.sizes = sizes
        self.waiting = {}
        self.results = 0
        self.errors = []
        self.room = threading.Semaphore(16)
        self.stop = threading.Event()
        self.sender = threading.Thread(target=self.send)

    def send(self):
        n = 0
        while not self.stop.is_set():
            self.room.acquire()
            n += 1
            size = self.random.choice(self.sizes)
            text = f"{n}," * (size // (len(str(n)) + 1) + 1)
            wire_id, data = self.host.pack_call("echo", b'{"n":%d,"text":"%s"}' % (n, text.encode()))
            self.waiting[wire_id] = [n, text]
            self.host.calls.sendall(data)

    def receive(self):
        """Receive one answer. It must belong to an unanswered call and be its result or an exception."""
        answer = self.host.answer()
        expected = self.waiting.pop(answer.wire_id)
        if answer.error is None:
            assert answer.result == expected
            self.results += 1
        else:
            self.errors.append(answer.error)
        self.room.release()

    def finish(self):
        """Receive the remaining answers. Join the sender only when none is unread: it could wait for the worker."""
        self.stop.set()
        self.room.release()
        while self.waiting or self.sender.is_alive():
            if self.waiting:
                self.receive()
            else:
                self.sender.join()


def read_outputs(host):
    """Read the output of the worker in threads. Return an event that its line "spent" sets."""
    spent = threading.Event()

    def read(stream):
        for data in iter(lambda: os.read(stream.fileno(), 1 << 16), b""):
            if data == b"spent\n":
                spent.set()

    for stream in (host.process.stdout, host.process.stderr):
        threading.Thread(target=read, args=(stream,), daemon=True).start()
    return spent


@pytest.mark.parametrize("sizes", [(10, 200, 70_000), (1 << 20,)], ids=["small", "large"])
def test_r26_a_thousand_exceptions_lose_no_byte(start, tmp_path, sizes):
    host = start(write_app(tmp_path, APP), pipeline=64)
    process, first = host.call("pid", session="ann").result
    assert host.call("alarms", count=ALARMS, seed=7).error is None
    traffic = CallLoad(host, sizes, 7)
    spent = read_outputs(host)
    traffic.sender.start()
    while traffic.results + len(traffic.errors) < 100 or not spent.is_set():
        traffic.receive()
    traffic.finish()
    assert traffic.results
    assert {error["kind"] for error in traffic.errors} <= {"exception", "unencodable"}
    assert host.call("pid", session="ann").result == [process, first + 1]


def test_r26_an_exception_raised_after_its_call_is_logged(start, tmp_path):
    """Some libraries implement time limits so: a thread raises an exception in the main thread. Here it is too late."""
    late = tmp_path / "late"
    os.mkfifo(late)
    host = start(
        f"""
        import ctypes

        class LimitReached(Exception):
            pass

        def throw(ident):
            with open({str(late)!r}) as fifo:
                fifo.read()
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(LimitReached))
            print("thrown", flush=True)

        @app.command
        def work(session: herder.Session) -> None:
            session.state["n"] = 1
            threading.Thread(target=throw, args=(threading.main_thread().ident,), daemon=True).start()

        @app.command
        def look(session: herder.Session): return session.state
        """
    )
    assert host.call("work", session="ann").result is None
    late.write_text("now")
    assert host.wait_for_line() == "thrown"
    assert host.call("look", session="ann").result == {"n": 1}
    host.shutdown()
    status, _, errors = host.wait_for_exit()
    assert status == 0
    assert "ignored an exception raised outside a call" in errors
    assert "LimitReached" in errors


@pytest.mark.parametrize("kind", ["SystemExit", "KeyboardInterrupt", "TimeoutError", "BrokenPipeError"])
def test_r26_no_kind_of_exception_outside_a_call_ends_the_worker(start, kind):
    host = start(
        f"""
        import signal

        def alarm(*_):
            print("raised", flush=True)
            raise {kind}

        signal.signal(signal.SIGALRM, alarm)

        @app.command
        def pid(): return os.getpid()
        """
    )
    process = host.call("pid").result
    host.kill(signal.SIGALRM)
    assert host.wait_for_line() == "raised"
    assert host.call("pid").result == process


def test_r26_a_stop_iteration_is_not_the_end_of_the_stream(start):
    """A signal handler raises it, as by `next` without a default, and an iteration ends with it."""
    host = start(
        """
        import signal

        def alarm(*_):
            print("raised", flush=True)
            next(iter(()))

        signal.signal(signal.SIGALRM, alarm)

        @app.command
        def size(text: str) -> int: return len(text)
        """
    )
    process = host.process
    host.kill(signal.SIGALRM)  # the worker waits for a frame
    assert host.wait_for_line() == "raised"
    _, data = host.pack_call("size", b'{"text":"%s"}' % (b"x" * 200_000))
    host.calls.sendall(data[:100_000])
    host.kill(signal.SIGALRM)  # the worker waits for the rest of a frame
    assert host.wait_for_line() == "raised"
    host.calls.sendall(data[100_000:])
    assert host.answer().result == 200_000
    assert process.poll() is None
