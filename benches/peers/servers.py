"""How each server is installed, started, recognized as ready, and stopped. Holds the process of one server."""

import http.client
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

APPS = Path(__file__).parent / "apps"
ROOT = Path(__file__).parents[2]
HOME = ROOT / "target/peers"
PYTHON = HOME / "venv/bin/python"
PACKAGES = ["uvicorn[standard]", "fastapi", "granian", "gunicorn", "orjson"]
BODY = '{"x":1,"text":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}'
ORDER = '{"id":17,"sku":"tea-450","price":4.5,"gift":true,"note":"with a ribbon"}'
READY_TIMEOUT = 30  # seconds
TICKS = os.sysconf("SC_CLK_TCK")

UVICORN = ["uvicorn", "--workers={workers}", "--port={port}", "--log-level=error", "--no-access-log", "--lifespan=off"]
FAST = ["--loop=uvloop", "--http=httptools", "--interface=asgi3"]
GRANIAN = ["granian", "--workers={workers}", "--port={port}", "--no-access-log", "--log-level=error", "--no-ws"]
GUNICORN = ["gunicorn", "-w{workers}", "-kgthread", "--threads=8", "-b127.0.0.1:{port}", "--log-level=error"]

# name -> command of a program in the environment of the peers, and the path of its echo
COMMANDS = {
    "uvicorn": ([*UVICORN, *FAST, "asgi:app"], "/"),
    "granian": ([*GRANIAN, "--interface=asginl", "asgi:app"], "/"),
    "FastAPI": ([*UVICORN, "--loop=uvloop", "--http=httptools", "fast:app"], "/echo"),
    "gunicorn": ([*GUNICORN, "--keep-alive=60", "wsgi:app"], "/"),
    "FastAPI model": ([*UVICORN, "--loop=uvloop", "--http=httptools", "typed_fast:app"], "/place"),
}
# name -> path of a command of Herder's pools
COMMANDS_OF_HERDER = {"Herder": "/v1/pools/echo/call/echo", "Herder dataclass": "/v1/pools/typed/call/place"}
# name -> the body of a request, if it is not the echo's; FastAPI takes a single model without the name of its parameter
BODIES = {"Herder dataclass": f'{{"order":{ORDER}}}', "FastAPI model": ORDER}


class PeerError(Exception):
    """The reason why a server could not be measured."""


def install(packages):
    """Install the peers into an environment of their own, below the target directory."""
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", HOME / "venv"], check=True)
    subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", "--no-compile", *packages], check=True)


class Server:
    """A running server: its address, and the CPU time of its processes."""

    def __init__(self, name, process, port, path):
        self.name, self.process, self.path = name, process, path
        self.body = BODIES.get(name, BODY)
        self.port = port
        self.url = f"http://127.0.0.1:{port}{path}"

    def answers(self):
        """Whether the server answers the echo with status 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("POST", self.path, self.body, {"content-type": "application/json"})
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def cpu_seconds(self):
        """The CPU time so far of the server and of all processes below it."""
        return sum(cpu_seconds_of(pid) for pid in descendants(self.process.pid))


@contextmanager
def running(name, workers, port, extra, pinned):
    """Start a server and stop it at the end. `extra` has the commands of further servers, by name."""
    command, path = command_of(name, extra)
    command = [part.format(port=port, workers=workers) for part in command]
    if pinned:
        command = ["taskset", "-c", "0", *command]
    # A session of its own: at the end, everything that the server started is stopped with it.
    environment = {**os.environ, "HERDER_LOG": "warn"}
    process = subprocess.Popen(command, cwd=APPS, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        server = Server(name, process, port, path)
        wait_until_ready(server)
        yield server
    finally:
        stop(process)


def command_of(name, extra):
    if name in extra:
        return extra[name]
    if name in COMMANDS_OF_HERDER:
        command = [str(ROOT / "target/release/herder"), "serve", str(HOME / "herder.toml"), "--listen=127.0.0.1:{port}"]
        return command, COMMANDS_OF_HERDER[name]
    command, path = COMMANDS[name]
    return [str(HOME / "venv/bin" / command[0]), *command[1:]], path


def wait_until_ready(server):
    end = time.monotonic() + READY_TIMEOUT
    while not server.answers():
        if server.process.poll() is not None:
            raise PeerError(f"{server.name} exited with status {server.process.returncode}")
        if time.monotonic() > end:
            raise PeerError(f"{server.name} did not answer within {READY_TIMEOUT} s")
        time.sleep(0.05)


def stop(process):
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    except ProcessLookupError:
        process.wait()


def descendants(pid):
    """The process and all processes below it."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                continue  # the thread has ended
    return found


def cpu_seconds_of(pid):
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS
