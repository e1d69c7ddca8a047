#!/usr/bin/env python3
"""Compares Herder with other ways of calling Python, on the same work in the same run: an echo of 56 bytes of JSON, or
with `--typed` an object of five fields that becomes a dataclass in Herder, and a model of pydantic in FastAPI.

All servers are measured in each round, one after another, so that a change of the machine's speed affects all of them.
The figures of a round are compared with each other; medians of the ratios are over rounds. The peers are installed
from PyPI into `target/peers`, never into the system's Python. Needs wrk, and cargo for the release build of Herder.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import load
import report
import servers
from servers import PeerError

EPILOG = """examples:
  benches/peers/run.py                              three rounds with 1, 8 and 64 connections, and an open loop
  benches/peers/run.py --rounds 1 --no-open         about a minute
  benches/peers/run.py --typed                      a dataclass beside a model of pydantic, 64 connections
  benches/peers/run.py --executors --ray            also process executors, gRPC and Ray, called from Python
  benches/peers/run.py --also 'old=/tmp/herder serve h.toml --listen 127.0.0.1:{port}=/v1/pools/echo/call/echo'

exit codes: 0 everything was measured; 1 something could not be measured; 2 wrong arguments"""
SERVERS = ["Herder", "uvicorn", "granian", "FastAPI", "gunicorn"]
TYPED = ["Herder dataclass", "FastAPI model"]
# As many workers as the peers.
# In the environment of the peers, so that all have orjson.
POOL = '[pools.{name}]\napp = "{app}"\npython = "{python}"\npool_size = {workers}\noverflow = 0\n'


def main():
    arguments = parse()
    result = measure(arguments, dict(map(also, arguments.also)))
    print(report.table(result))
    for path, text in ((arguments.json, json.dumps(result, indent=1) + "\n"), (arguments.svg, report.svg(result))):
        if path:
            path.write_text(text)


def exit_code(main):
    """Runs a program. Returns 1 if something could not be measured."""
    try:
        main()
    except (PeerError, subprocess.CalledProcessError) as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return 1
    return 0


def parser_of(description, epilog):
    return argparse.ArgumentParser(
        description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def parse():
    parser = parser_of(__doc__, EPILOG)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of all servers (default: 3)")
    parser.add_argument("--seconds", type=int, default=2, help="seconds of each load (default: 2)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes of each server (default: 2)")
    parser.add_argument("--connections", help="numbers of connections (default: 1,8,64; with --typed: 64)")
    parser.add_argument("--servers", help=f"default: {','.join(SERVERS)}; with --typed: {','.join(TYPED)}")
    parser.add_argument("--typed", action="store_true", help="arguments and results with types, not an echo")
    parser.add_argument("--no-open", action="store_true", help="no open loop")
    parser.add_argument("--pinned", action="store_true", help="servers and load on one core")
    parser.add_argument("--executors", action="store_true", help="also process executors and gRPC, called from Python")
    parser.add_argument("--ray", action="store_true", help="also Ray (a large installation)")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=COMMAND=PATH", help="a further server")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--svg", type=Path, help="write a picture to this file")
    arguments = parser.parse_args()
    arguments.servers = arguments.servers or ",".join(TYPED if arguments.typed else SERVERS)
    arguments.connections = arguments.connections or ("64" if arguments.typed else "1,8,64")
    return arguments


def also(text):
    name, command, path = text.split("=", 2)
    return name, (command.split(), path)


def measure(arguments, extra):
    prepare(arguments)
    names = [*arguments.servers.split(","), *extra]
    connections = [int(number) for number in arguments.connections.split(",")]
    rounds, before = [], stolen()
    for number in range(1, arguments.rounds + 1):
        figures = {}
        for name in names:
            note(f"round {number} of {arguments.rounds}: {name}")
            figures[name] = measure_server(name, arguments, connections, extra)
        for kind in executors(arguments):
            note(f"round {number} of {arguments.rounds}: {kind}")
            figures[kind] = {str(callers): executor(kind, arguments, callers) for callers in connections}
        rounds.append(figures)
    return {"machine": machine(before), "workers": arguments.workers, "pinned": arguments.pinned, "rounds": rounds}


def prepare(arguments):
    note("building Herder and installing the peers")
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "herder-cli"], cwd=servers.ROOT, check=True)
    packages = servers.PACKAGES + ["grpcio"] * arguments.executors + ["ray"] * arguments.ray
    servers.install(packages)
    name, app = ("typed", servers.APPS / "typed_herder.py:app") if arguments.typed else ("echo", "herder.demo:app")
    pool = POOL.format(name=name, app=app, python=servers.PYTHON, workers=arguments.workers)
    (servers.HOME / "herder.toml").write_text(pool)
    load.prepare(not arguments.no_open)


def measure_server(name, arguments, connections, extra):
    figures = {}
    with servers.running(name, arguments.workers, free_port(), extra, arguments.pinned) as server:
        load.closed(server, 8, 1)  # not counted: caches fill, and workers have run the command
        for number in connections:
            figures[str(number)] = load.closed(server, number, arguments.seconds, arguments.pinned)
        if not arguments.no_open:
            figures["open"] = load.open_loop(server, connections[-1], arguments.seconds)
    return figures


def executors(arguments):
    kinds = ["ProcessPoolExecutor", "multiprocessing.Pool", "gRPC"] if arguments.executors else []
    return kinds + ["Ray"] * arguments.ray


def executor(kind, arguments, callers):
    script = "grpc_echo.py" if kind == "gRPC" else "executor.py"
    command = [servers.PYTHON, script, kind, arguments.workers, callers, arguments.seconds]
    return json.loads(
        subprocess.run(list(map(str, command)), cwd=servers.APPS, check=True, stdout=subprocess.PIPE).stdout
    )


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def stolen():
    """The ticks so far that the hypervisor gave to others, and all ticks."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[7], sum(ticks)


def machine(before):
    steal, total = (after - start for after, start in zip(stolen(), before, strict=True))
    model = next((line for line in Path("/proc/cpuinfo").read_text().split("\n") if "model name" in line), ": unknown")
    return {"cores": os.cpu_count(), "model": model.split(": ")[1], "steal": steal / max(total, 1)}


def note(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(exit_code(main))
