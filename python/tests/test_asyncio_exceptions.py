"""R42: every call is answered although the application raises exceptions outside calls at any moment."""

import json
import random
import threading

import pytest

APP = """
import random, signal

class Boom(Exception): pass

endings = []
left, low, high, chosen = 0, 0.0, 0.0, random.Random()

def alarm(_signal, _frame):
    global left
    left -= 1
    if left > 0: signal.setitimer(signal.ITIMER_REAL, chosen.uniform(low, high))
    else: os.write(2, b"all raised\\n")
    raise Boom("at a random moment")

@app.command
async def raise_exceptions(count: int, shortest: float, longest: float, seed: int):
    global left, low, high
    left, low, high = count, shortest, longest
    chosen.seed(seed)
    signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.02)

@app.command
async def raised(): return left <= 0

@app.command
async def a_echo(**a): return a

@app.command
def echo(**a): return a

async def child(value):
    await asyncio.sleep(0)
    return value

@app.command
async def a_sleeps(**a):
    await asyncio.sleep(0)
    await asyncio.sleep(0.0005)
    return a

@app.command
async def a_gathers(**a):
    found = await asyncio.gather(child(1), child(2), child(3))
    return a if found == [1, 2, 3] else found

@app.on_session_end
def ended(session, reason): endings.append(session.id)

@app.on_session_end
async def a_ended(session, reason):
    await asyncio.sleep(0)
    endings.append("async " + session.id)

@app.command
async def ended_sessions(): return endings
"""
COMMANDS = ["a_echo", "echo", "a_sleeps", "a_gathers"]


class ExceptionLoad:
    """Sends calls while exceptions are raised, and checks each answer."""

    def __init__(self, host, seed, size, window=16):
        self.host, self.size = host, size
        self.chosen = random.Random(seed)
        self.room = threading.Semaphore(window)
        self.expected = {}
        self.stop = threading.Event()
        self.results = self.failures = 0

    def send(self):
        """Send calls until `stop` is set, up to `window` at once."""
        while not self.stop.is_set():
            self.room.acquire()
            arguments = {"n": self.host.next_id, "text": self.chosen.choice("abc") * self.chosen.randrange(self.size)}
            name = self.chosen.choice(COMMANDS)
            session = f"s{self.host.next_id}" if self.chosen.random() < 0.1 else None
            wire_id, data = self.host.pack_call(name, json.dumps(arguments).encode(), session=session)
            self.expected[wire_id] = name, arguments
            self.host.calls.sendall(data)
            if session:
                self.host.end_session(session)

    def receive(self):
        """Receive one answer. It must belong to an unanswered call and be its result or an exception."""
        answer = self.host.answer()
        name, arguments = self.expected.pop(answer.wire_id)
        if answer.error is None:
            assert answer.result == arguments
            self.results += 1
        else:
            # `unencodable`: the exception was raised while the result was encoded.
            assert answer.error_kind in ("exception", "unencodable"), (name, answer.error)
            assert "Boom" in (answer.error.get("type") or answer.error["message"] + "Boom"), (name, answer.error)
            self.failures += 1
        self.room.release()

    def run(self, count, shortest, longest, seed):
        """Send and receive until `count` exceptions are raised and all calls are answered."""
        self.host.call("raise_exceptions", count=count, shortest=shortest, longest=longest, seed=seed)
        sender = threading.Thread(target=self.send)
        sender.start()
        try:
            for _ in range(200):
                self.receive()
            while not self.raised():
                for _ in range(200):
                    self.receive()
        finally:
            self.stop.set()
            for _ in range(20):
                self.room.release()
        while sender.is_alive() or self.expected:
            if self.expected:
                self.receive()
            else:
                sender.join(0.01)

    def raised(self):
        """Whether the worker has raised all exceptions. It logs a line then: another call would disturb the order."""
        return b"all raised" in self.log

    log = b""

    def read_log(self):
        """Read the worker's log, so that the worker never waits for the reader."""
        for line in iter(self.host.process.stderr.readline, b""):
            if b"all raised" in line:
                self.log = line


@pytest.mark.parametrize("size", [200, 1 << 20], ids=["small", "large"])
def test_every_call_is_answered_despite_exceptions_at_any_moment(start, size):
    """A thousand exceptions while sync and async handlers run and frames are read and written."""
    host = start(APP, concurrency=8, pipeline=4)
    load = ExceptionLoad(host, 7, size)
    reader = threading.Thread(target=load.read_log)
    reader.start()
    load.run(1000, 0.0002, 0.003, 7)
    assert load.results and load.failures
    assert host.call("raised").result is True
    ended = host.call("ended_sessions").result
    assert len(ended) == len(set(ended)) > 0
    host.shutdown()
    assert host.process.wait() == 0
    reader.join()


def test_an_exception_from_a_thread_in_the_idle_loop_is_logged(start):
    """Some time limits raise an exception in the main thread. Here the call is answered already."""
    host = start(
        """
        import ctypes
        go = threading.Event()

        def throw():
            go.wait()
            for kind in (ValueError, TimeoutError, SystemExit, KeyboardInterrupt, BrokenPipeError):
                raised = ctypes.py_object(kind)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threading.main_thread().ident), raised)
                os.kill(os.getpid(), __import__("signal").SIGUSR2)  # ends the wait in `poll`
                while ctypes.pythonapi.PyThreadState_SetAsyncExc(0, None): pass
                print(kind.__name__)

        @app.command
        async def work(session: herder.Session):
            threading.Thread(target=throw, daemon=True).start()
            session.state["n"] = 1

        @app.command
        def answered(): go.set()

        @app.command
        async def look(session: herder.Session): return session.state["n"]
        """
    )
    assert host.call("work", session="ann").error is None
    host.send("answered")
    assert [host.wait_for_line() for _ in range(5)][-1] == "BrokenPipeError"
    host.answer()  # its result, or one of the exceptions
    assert [host.call("look", session="ann").error is None for _ in range(6)][-1]
    host.shutdown()
    status, _, err = host.wait_for_exit()
    assert status == 0 and "ignored an exception raised outside a call" in err


@pytest.mark.parametrize("kind", ["MemoryError", "SystemExit", "ValueError"])
def test_an_exception_while_arguments_are_decoded_fails_that_call(start, kind):
    """An exception of any kind fails only its call; the calls after it run."""
    host = start(
        f"""
        from herder.aio_reader import Reader
        on_call, decode = Reader.on_call, None

        def fails(payload):
            arguments = decode(payload)
            if arguments.get("fails"): raise {kind}("while arguments are decoded")
            return arguments

        def on_call_that_fails(self, *arguments):
            global decode
            if self.worker.decode is not fails:
                decode, self.worker.decode = self.worker.decode, fails
            on_call(self, *arguments)

        Reader.on_call = on_call_that_fails

        @app.command
        async def echo(**a): return a
        """,
        pipeline=5,
    )
    packed = [host.pack_call("echo", b'{"fails":%s}' % fails) for fails in (b"0", b"1", b"0", b"1", b"0")]
    host.calls.sendall(b"".join(data for _, data in packed))
    answers = host.answers(5)
    found = [answers[wire_id].error and answers[wire_id].error["type"] for wire_id, _ in packed]
    assert found == [None, kind, None, kind, None]
    assert host.call("echo", x=1).result == {"x": 1}


def test_a_call_without_memory_for_its_frame_fails(start):
    """The rest of the frame is skipped, and the next call runs."""
    host = start(
        """
        import resource

        @app.command
        async def limit(extra: int):
            size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + extra, resource.getrlimit(resource.RLIMIT_AS)[1]))

        @app.command
        async def size(text: str): return len(text)
        """,
        pipeline=2,
    )
    text = b'{"text":"%s"}' % (b"x" * (48 << 20))
    for extra in (8 << 20, 60 << 20, 130 << 20):  # memory ends while the frame is read, copied, decoded
        host.call("limit", extra=extra)
        large, data = host.pack_call("size", text)
        small, more = host.pack_call("size", b'{"text":"small"}')
        sender = threading.Thread(target=host.calls.sendall, args=(data + more,))
        sender.start()
        answers = host.answers(2)
        sender.join()
        assert answers[small].result == 5
        assert answers[large].error["type"] == "MemoryError", answers[large].error
