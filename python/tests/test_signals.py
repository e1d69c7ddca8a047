"""R30, R35: the effect of signals on a worker and on the processes that it starts, and when an interrupt must wait."""

import os
import signal

import pytest

from herder import frames

ASYNC = "\n@app.command\nasync def makes_it_asyncio(): pass\n"
BOTH = pytest.mark.parametrize("more", ["", ASYNC], ids=["sync", "asyncio"])

ECHO = """
@app.command
def echo(**arguments): return arguments
"""

# Blocks its thread in C code for ever, without the GIL. A signal handler does not end the wait.
DEADLOCK = """
import ctypes
mutex = ctypes.create_string_buffer(128)

def deadlock():
    print("in")
    for _ in range(2): ctypes.CDLL(None).pthread_mutex_lock(mutex)

@app.command
def stuck(): deadlock()
"""


def has_default_signals(status):
    """Whether /proc/PID/status has an empty mask and no ignored signals except the two that Python ignores."""
    masks = dict(line.split(":\t", 1) for line in status.splitlines() if line.startswith(("SigBlk", "SigIgn")))
    allowed = 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)
    return int(masks["SigBlk"], 16) == 0 and int(masks["SigIgn"], 16) & ~allowed == 0


@BOTH
def test_sigterm_and_sigint_are_ignored_before_shutdown(start, more):
    """R30: a service manager may send them to every process; the host decides when its workers end."""
    host = start(ECHO + more)
    for number in (signal.SIGTERM, signal.SIGINT):
        host.kill(number)
        assert host.call("echo", x=1).result == {"x": 1}
    host.shutdown()
    assert host.wait_for_exit()[0] == 0


@BOTH
def test_after_shutdown_sigterm_ends_a_worker_that_is_stuck_in_c(start, more):
    """R30: the main thread runs no Python code, but the control thread has restored the default."""
    host = start(DEADLOCK + more)
    host.send("stuck")
    assert host.wait_for_line() == "in"
    host.kill(signal.SIGTERM)
    host.ping(1)  # it still runs
    host.shutdown()
    host.ping(2)  # the shutdown is read by then
    host.kill(signal.SIGTERM)
    assert host.wait_for_exit()[0] == -signal.SIGTERM


def test_after_shutdown_on_the_calls_descriptor_sigterm_ends_a_worker_that_does_not_exit(start):
    """R30: the loop has read the shutdown, not the control thread."""
    host = start(DEADLOCK + "import atexit\natexit.register(deadlock)\n")
    host.calls.sendall(frames.frame(frames.SHUTDOWN))
    assert host.wait_for_line() == "in"
    host.kill(signal.SIGTERM)
    assert host.wait_for_exit()[0] == -signal.SIGTERM


def test_a_shutdown_while_the_application_is_loaded_lets_sigterm_end_it(start):
    host = start(DEADLOCK + "deadlock()\n", wait=False)
    host.frame(frames.HELLO)
    assert host.wait_for_line() == "in"
    host.kill(signal.SIGTERM)
    host.ping(1)
    host.shutdown()
    host.ping(2)
    host.kill(signal.SIGTERM)
    assert host.wait_for_exit()[0] == -signal.SIGTERM


def test_without_a_control_descriptor_sigterm_keeps_its_default(start):
    """There is no control thread that could restore it while the main thread is stuck."""
    host = start(ECHO, control=False)
    host.kill(signal.SIGTERM)
    assert host.wait_for_exit()[0] == -signal.SIGTERM


def test_a_sigterm_handler_of_the_application_stays(start):
    host = start(
        ECHO
        + """
import signal

@app.on_start
def own():
    signal.signal(signal.SIGTERM, lambda *_: print("own"))
""",
    )
    host.kill(signal.SIGTERM)
    assert host.wait_for_line() == "own"
    wire_id = host.send("echo")
    assert host.answer().wire_id == wire_id


def test_a_shutdown_leaves_a_sigterm_handler_of_the_application(start):
    host = start(
        """
import signal

@app.on_start
def own():
    signal.signal(signal.SIGTERM, lambda *_: print("own"))

@app.command
def wait():
    print("in")
    while True: time.sleep(0.01)
""",
    )
    host.send("wait")
    assert host.wait_for_line() == "in"
    host.shutdown()
    host.ping()
    host.kill(signal.SIGTERM)
    assert host.wait_for_line() == "own"


@BOTH
def test_signals_at_any_moment_have_no_effect(start, more):
    """SIGTERM and SIGINT in the loop, in reads and in handlers."""
    host = start(ECHO + more)
    for n in range(1000):
        wire_id = host.send("echo", n=n)
        host.kill(signal.SIGTERM)
        host.kill(signal.SIGINT)
        answer = host.answer()
        assert (answer.wire_id, answer.result) == (wire_id, {"n": n})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_system_call_of_c_code_is_restarted(start, tmp_path, number):
    """C code that does not expect EINTR continues."""
    os.mkfifo(tmp_path / "fifo")
    host = start(
        """
import ctypes

@app.command
def read(fifo: str):
    fd = os.open(fifo, os.O_RDWR)
    data = ctypes.create_string_buffer(8)
    print("in")
    return [ctypes.CDLL(None, use_errno=True).read(fd, data, 8), ctypes.get_errno()]
"""
    )
    wire_id = host.send("read", fifo=str(tmp_path / "fifo"))
    assert host.wait_for_line() == "in"
    blocked_in(host.process.pid, "read")
    host.kill(number)
    with open(tmp_path / "fifo", "wb", buffering=0) as fifo:
        fifo.write(b"four")
    answer = host.answer()
    assert (answer.wire_id, answer.result) == (wire_id, [4, 0])


def blocked_in(pid, call):
    """Wait until the main thread waits in the system call `call`."""
    number = {"read": {"x86_64": "0", "aarch64": "63"}}[call].get(os.uname().machine)
    if number is None:
        pytest.skip("the number of the system call is not known here")
    while True:
        with open(f"/proc/{pid}/syscall") as file:
            if file.read().split()[0] == number:
                return


FORKS = """
import multiprocessing, signal, subprocess

context = multiprocessing.get_context("fork")

def waits(ready):
    try:
        ready.set()
        while True:
            time.sleep(0.05)  # a signal just before a sleep interrupts only the next one
    except KeyboardInterrupt:
        os._exit(42)

def end_by(number):
    ready = context.Event()
    child = context.Process(target=waits, args=(ready,))
    child.start()
    ready.wait()
    os.kill(child.pid, number)
    child.join()
    return child.exitcode

@app.command
def forks(number: int): return end_by(number)

@app.command
def forks_in_a_thread(number: int):
    codes = []
    thread = threading.Thread(target=lambda: codes.append(end_by(number)))
    thread.start()
    thread.join()
    return codes[0]

@app.command
def runs(number: int):
    code = "import time; print('in', flush=True)\\nwhile True: time.sleep(0.05)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    child.stdout.readline()
    child.send_signal(number)
    return child.wait()

@app.command
def status(): return subprocess.run(["cat", "/proc/self/status"], stdout=subprocess.PIPE).stdout.decode()

@app.command
def fails(): return subprocess.run(["false"]).returncode
"""


@BOTH
@pytest.mark.parametrize("command", ["forks", "forks_in_a_thread"])
def test_forks_of_a_worker_have_default_handlers(start, more, command):
    """R30: `multiprocessing.Process.terminate` works, and SIGINT raises KeyboardInterrupt in them."""
    host = start(FORKS + more)
    assert host.call(command, number=int(signal.SIGTERM)).result == -signal.SIGTERM
    assert host.call(command, number=int(signal.SIGINT)).result == 42


def test_a_signal_to_a_fork_that_has_not_run_yet_is_not_lost(start):
    """R30: `Process.start` and at once `terminate`: the fork has not replaced the worker's handlers yet."""
    host = start(
        """
        import signal
        worker, opened = os.getpid(), os.open

        @app.command
        def fork():
            reader, writer = os.pipe()
            def open_late(*arguments):  # the first step of Herder in a fork
                if os.getpid() != worker: os.read(reader, 1)
                return opened(*arguments)
            os.open = open_late
            child = os.fork()
            if not child: os._exit(7)
            os.kill(child, signal.SIGTERM)
            os.write(writer, b"x")
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        """
    )
    assert host.call("fork").result == -signal.SIGTERM
    host.kill(signal.SIGTERM)
    assert host.call("fork").result == -signal.SIGTERM, "the worker runs and still ignores it"


def test_an_interrupt_does_not_leave_signals_blocked_around_a_fork(start):
    host = start(
        """
        from herder import signals

        @app.command
        def fork():
            waits = []
            def look(frame, event, _):
                if event == "call" and frame.f_code.co_name.endswith("_fork"):
                    waits.append(signals.is_uninterruptible(frame, ()))
            sys.setprofile(look)
            child = os.fork()
            if not child: os._exit(0)
            sys.setprofile(None)
            os.waitpid(child, 0)
            return waits + [signals.is_uninterruptible(sys._getframe(), ())]
        """
    )
    assert host.call("fork").result == [True, True, False]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT])
def test_other_signals_keep_their_default(start, number):
    host = start(ECHO)
    host.kill(number)
    assert host.wait_for_exit()[0] == -number


@BOTH
def test_programs_that_a_worker_starts_have_default_handlers(start, more):
    """R30: they ignore no signal that the worker ignores or handles."""
    host = start(FORKS + more)
    assert host.call("runs", number=int(signal.SIGTERM)).result == -signal.SIGTERM
    assert host.call("runs", number=int(signal.SIGINT)).result == -signal.SIGINT
    assert has_default_signals(host.call("status").result)
    assert host.call("fails").result == 1


def test_asyncio_run_in_a_sync_handler_does_not_take_sigint(start, tmp_path):
    host = start(
        """
@app.command
def run(file: str):
    async def waits():
        print("in")
        while not os.path.exists(file): await asyncio.sleep(0.001)
        return "done"
    return asyncio.run(waits())
"""
    )
    host.send("run", file=str(tmp_path / "go"))
    assert host.wait_for_line() == "in"
    host.kill(signal.SIGINT)
    host.ping()
    (tmp_path / "go").touch()
    assert host.answer().result == "done"


# A module whose import takes until three interrupts have arrived, and an application that imports it.
SLOW = """
import time, __main__
__main__.loads = getattr(__main__, "loads", 0) + 1
print("importing", flush=True)
while len(__main__.interrupts) < 3: time.sleep(0.001)
loads = __main__.loads
"""
IMPORTS = """
import importlib, signal, __main__
__main__.interrupts = interrupts = []
sys.path.insert(0, os.path.dirname(__file__))

@app.on_start
def count_interrupts():
    interrupt = signal.getsignal(signal.SIGUSR2)
    def counted(number, frame):
        interrupts.append(number)
        interrupt(number, frame)
    signal.signal(signal.SIGUSR2, counted)

@app.command
def by_statement():
    import slow
    time.sleep(1000)

@app.command
def by_name():
    importlib.import_module("slow")
    time.sleep(1000)

@app.command
def loads():
    import slow
    return [slow.loads, len(interrupts)]

@app.on_session_end
def ends(session, reason):
    import slow
    print("imported")
    time.sleep(1000)
"""
ASYNC_IMPORT = """
@app.command
async def in_a_task():
    import slow
    time.sleep(1000)
"""


@pytest.mark.parametrize(
    ("more", "command"),
    [
        ("", "by_statement"),
        ("", "by_name"),
        (ASYNC_IMPORT, "by_statement"),
        (ASYNC_IMPORT, "by_name"),
        (ASYNC_IMPORT, "in_a_task"),
    ],
    ids=["sync-statement", "sync-name", "asyncio-statement", "asyncio-name", "asyncio-task"],
)
def test_an_interrupt_waits_for_the_end_of_an_import(start, tmp_path, more, command):
    """R35: after an interrupted import all later ones fail: `cannot load module more than once per process`."""
    (tmp_path / "slow.py").write_text(SLOW)
    host = start(IMPORTS + more)
    wire_id = host.send(command)
    assert host.wait_for_line() == "importing"
    host.cancel(wire_id, interrupt=True)
    assert host.answer().error_kind == "cancelled"
    loads, interrupts = host.call("loads").result
    assert loads == 1 and interrupts > 3, "the interrupt that ended the call came after the import"


@pytest.mark.parametrize("more", ["", ASYNC_IMPORT], ids=["sync", "asyncio"])
def test_the_limit_of_a_hook_waits_for_the_end_of_an_import(start, tmp_path, more):
    """R22: also in an `on_session_end` hook. Such a hook still ends the worker after twice its limit."""
    (tmp_path / "slow.py").write_text(SLOW)
    host = start(IMPORTS + more, session_end_timeout_ms=2000)
    host.end_session("ann")
    assert host.wait_for_line() == "importing"
    assert host.wait_for_line() == "imported"
    assert host.call("loads").result[0] == 1
    host.shutdown()
    status, _, err = host.wait_for_exit()
    assert status == 0 and "HookTimeout" in err


def test_a_hook_whose_import_never_ends_ends_the_worker(start, tmp_path):
    """R22: a hook that never ends does not block the worker for ever."""
    (tmp_path / "slow.py").write_text("import time\nprint('importing', flush=True)\nwhile True: time.sleep(1)\n")
    host = start(IMPORTS, session_end_timeout_ms=50)
    host.end_session("ann")
    status, _, err = host.wait_for_exit()
    assert status == 1 and "cannot be interrupted" in err
