#!/usr/bin/env python3
"""Compares streams of Herder with FastAPI's `StreamingResponse` on uvicorn: chunks per second over HTTP, and the time
to the first chunk beside the time of a plain call. Each server has one worker process.

Both servers are measured in each round, one after the other; the ratios of a round are of the same minute. The client
reads as fast as it can, and counts the items. Installs the peers into `target/peers`.
"""

import selectors
import socket
import statistics
import subprocess
import sys
import time

import servers
from run import POOL, exit_code, free_port, note, parser_of, stolen
from servers import PeerError

EPILOG = """examples:
  benches/peers/streams.py
  benches/peers/streams.py --rounds 3 --chunks 50000 --connections 1,8

exit codes: 0 everything was measured; 1 something could not be measured; 2 wrong arguments"""
HERDER, FASTAPI = "Herder stream", "FastAPI stream"
KINDS = {
    "items": "async generator",
    "awaited": "async generator that awaits before each item",
    "blocking": "sync generator",
}
READ = 1 << 18  # bytes
LATENCIES = 300  # requests, for the time to the first chunk


def main():
    arguments = parse()
    prepare(not arguments.no_build)
    print(measure(arguments))


def parse():
    parser = parser_of(__doc__, EPILOG)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of both servers (default: 5)")
    parser.add_argument("--chunks", type=int, default=100_000, help="items of each stream (default: 100000)")
    parser.add_argument("--connections", default="1", help="numbers of connections (default: 1)")
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"default: {','.join(KINDS)}")
    parser.add_argument("--no-build", action="store_true", help="use target/release/herder as it is")
    arguments = parser.parse_args()
    arguments.connections = [int(number) for number in arguments.connections.split(",")]
    arguments.kinds = arguments.kinds.split(",")
    return arguments


def prepare(build):
    if build:
        note("building Herder and installing the peers")
        subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "herder-cli"], cwd=servers.ROOT, check=True)
    servers.install(servers.PACKAGES)
    pool = POOL.format(name="streams", app=servers.APPS / "stream_herder.py:app", python=servers.PYTHON, workers=1)
    (servers.HOME / "streams.toml").write_text(pool)
    servers.BODIES.update({HERDER: '{"n":1}', FASTAPI: '{"n":1}'})


def commands():
    """The command of each server, and the path of a plain call."""
    herder = [servers.ROOT / "target/release/herder", "serve", servers.HOME / "streams.toml"]
    uvicorn = [servers.HOME / "venv/bin/uvicorn", *servers.UVICORN[1:], "--loop=uvloop", "--http=httptools"]
    return {
        HERDER: ([*map(str, herder), "--listen=127.0.0.1:{port}"], "/v1/pools/streams/call/plain"),
        FASTAPI: ([*map(str, uvicorn), "stream_fast:app"], "/plain"),
    }


def measure(arguments):
    rounds, before = [], stolen()
    for number in range(1, arguments.rounds + 1):
        figures = {}
        for name in (HERDER, FASTAPI):
            note(f"round {number} of {arguments.rounds}: {name}")
            with servers.running(name, 1, free_port(), commands(), False) as server:
                figures[name] = measure_server(server, arguments)
        rounds.append(figures)
    note("")
    steal, total = (after - start for after, start in zip(stolen(), before, strict=True))
    return report(rounds, steal / max(total, 1))


def measure_server(server, arguments):
    base = server.path.rpartition("/")[0]
    figures = {}
    for kind in arguments.kinds:
        stream(server.port, f"{base}/{kind}", arguments.chunks // 10, 1)  # not counted: caches fill
        for connections in arguments.connections:
            seconds = stream(server.port, f"{base}/{kind}", arguments.chunks, connections)
            figures[f"{KINDS[kind]}, {connections} connections: chunks/s"] = arguments.chunks * connections / seconds
    figures["plain call: us"] = latency(server.port, f"{base}/plain")
    figures["first chunk: us"] = latency(server.port, f"{base}/items")
    return figures


def request(path, chunks):
    body = b'{"n":%d}' % chunks
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Accept: application/x-ndjson, */*;q=0.1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def stream(port, path, chunks, connections):
    """Read a stream on each connection at the same time. Return the seconds from the first request to the last byte."""
    selector = selectors.DefaultSelector()
    items, tails = 0, {}
    begin = time.perf_counter()
    for _ in range(connections):
        client = socket.create_connection(("127.0.0.1", port))
        client.sendall(request(path, chunks))
        selector.register(client, selectors.EVENT_READ)
        tails[client] = b""
    while tails:
        for key, _ in selector.select():
            data = key.fileobj.recv(READ)
            items += data.count(b"{")
            tails[key.fileobj] = (tails[key.fileobj] + data)[-5:]
            if not data or tails[key.fileobj] == b"0\r\n\r\n":
                selector.unregister(key.fileobj)
                del tails[key.fileobj]
                key.fileobj.close()
    seconds = time.perf_counter() - begin
    if items != chunks * connections:
        raise PeerError(f"{path}: {items} items arrived, not {chunks * connections}")
    return seconds


def latency(port, path):
    """The median time to the first byte of a body, in microseconds, of requests on one connection."""
    times = []
    with socket.create_connection(("127.0.0.1", port)) as client:
        for _ in range(LATENCIES):
            begin = time.perf_counter()
            client.sendall(request(path, 1))
            text = b""
            while b"{" not in text:
                text += client.recv(READ)
            times.append(time.perf_counter() - begin)
            while not text.endswith((b"0\r\n\r\n", b"}")):
                text += client.recv(READ)
    return 1e6 * statistics.median(times)


def report(rounds, steal):
    lines = [f"medians of {len(rounds)} rounds (least and greatest), steal {steal:.1%}"]
    for figure in rounds[0][HERDER]:
        cells = [f"{figure:<68}"]
        for name in (HERDER, FASTAPI):
            found = [each[name][figure] for each in rounds]
            cells.append(f"{name}: {statistics.median(found):>9,.0f} ({min(found):,.0f}-{max(found):,.0f})")
        ratios = [each[HERDER][figure] / each[FASTAPI][figure] for each in rounds]
        cells.append(f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")
        lines.append("  ".join(cells))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(exit_code(main))
