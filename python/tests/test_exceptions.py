"""R26: exceptions that the application raises at any step of the loop cost no byte and no session."""

import random
import threading

import pytest

from host import write_app

ALARMS = 1000

APP = """
    import ctypes, random, signal

    class Stray(Exception):
        pass

    left = 0

    def stray(*_):
        global left
        left -= 1
        if left == 0:
            os.write(1, b"spent\\n")
        else:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(SHORTEST, LONGEST))
        raise Stray

    signal.signal(signal.SIGALRM, stray)

    @app.command
    def alarms(count: int, seed: int) -> None:
        global left
        random.seed(seed)
        left = count
        signal.setitimer(signal.ITIMER_REAL, 0.001)

    @app.command
    def echo(n: int, text: str) -> list:
        return [n, text]

    @app.command
    def pid(session: herder.Session) -> list:
        session.state["n"] = session.state.get("n", 0) + 1
        return [os.getpid(), session.state["n"]]
"""


def app_with_alarms(folder, shortest=0.0002, longest=0.003):
    return write_app(folder, APP.replace("SHORTEST", str(shortest)).replace("LONGEST", str(longest)))


class Traffic:
    """Calls from a thread of their own, many at once; each answer is checked when it comes."""

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
            wire_id, data = self.host.packed("echo", b'{"n":%d,"text":"%s"}' % (n, text.encode()))
            self.waiting[wire_id] = [n, text]
            self.host.calls.sendall(data)

    def receive(self):
        """One answer: it belongs to a call that has none, and is its result or an exception."""
        answer = self.host.answer()
        expected = self.waiting.pop(answer.wire_id)
        if answer.error is None:
            assert answer.result == expected
            self.results += 1
        else:
            self.errors.append(answer.error)
        self.room.release()


def read_outputs(host):
    """Read what the worker prints, so that it never blocks; the event is set by its line "spent"."""
    spent = threading.Event()

    def read():
        for line in host.process.stdout:
            if line == b"spent\n":
                spent.set()

    for target in (read, lambda: list(host.process.stderr)):
        threading.Thread(target=target, daemon=True).start()
    return spent


@pytest.mark.parametrize("sizes", [(10, 200, 70_000), (1 << 20,)], ids=["small", "large"])
def test_r26_a_thousand_exceptions_lose_no_byte(start, tmp_path, sizes):
    host = start(app_with_alarms(tmp_path), pipeline=64)
    process, first = host.call("pid", session="ann").result
    assert host.call("alarms", count=ALARMS, seed=7).error is None
    traffic = Traffic(host, sizes, 7)
    spent = read_outputs(host)
    traffic.sender.start()
    while traffic.results + len(traffic.errors) < 100 or not spent.is_set():
        traffic.receive()
    traffic.stop.set()
    traffic.room.release()
    traffic.sender.join()
    while traffic.waiting:
        traffic.receive()
    assert traffic.results
    assert {error["kind"] for error in traffic.errors} <= {"exception", "unencodable"}
    assert host.call("pid", session="ann").result == [process, first + 1]
