"""A worker of the tests of the calls of a dead worker: it begins its calls in order, one at a time, and says so.

The first process of a pool takes some calls and then does what the mode in its arguments says. The others answer every call.
Each call that begins appends its number to the file `begun`.
"""

import json
import os
import select
import signal
import socket
import struct
import sys
import threading
import time

HELLO, READY, CALL, RESULT, ERROR, PING, PONG, SHUTDOWN = 1, 2, 3, 4, 5, 14, 15, 20
REVOKE, ATTEMPT_STATE, RUNNING, WITHDRAWN = 11, 13, 1, 2

calls, control = (socket.socket(fileno=int(os.environ[name])) for name in ("HERDER_FD", "HERDER_CTL_FD"))
begun = os.open("begun", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def read(stream: socket.socket, size: int) -> bytes:
    """Read exactly this many bytes. No byte of the next frame is read."""
    data = stream.recv(size, socket.MSG_WAITALL) if size else b""
    if len(data) < size:
        sys.exit(0)
    return data


def next_frame(stream: socket.socket) -> tuple[int, int, bytes]:
    length, kind, _, _, wire = struct.unpack("<IBBHQ", read(stream, 16))
    return kind, wire, read(stream, length)


def frame(kind: int, wire: int, body: bytes = b"") -> bytes:
    return struct.pack("<IBBHQ", len(body), kind, 0, 0, wire) + body


def next_call() -> tuple[int, int]:
    """Return the wire id of the next call, and its number."""
    while True:
        kind, wire, body = next_frame(calls)
        if kind == SHUTDOWN:
            sys.exit(0)
        if kind == CALL:
            command, session = struct.unpack_from("<HH", body, 16)
            return wire, json.loads(body[20 + command + session :])["number"]


def run(number: int) -> None:
    os.write(begun, f"{number}\n".encode())


def result(wire: int) -> bytes:
    now = time.monotonic_ns()
    return frame(RESULT, wire, struct.pack("<QQ", now - 1000, now) + b"null")


def take(count: int) -> list[tuple[int, int]]:
    """Take calls. Run and answer the first one, and run the second one."""
    taken = [next_call() for _ in range(count)]
    run(taken[0][1])
    calls.sendall(result(taken[0][0]))
    run(taken[1][1])
    return taken


def serve_control() -> None:
    while True:
        kind, nonce, _ = next_frame(control)
        if kind == PING:
            control.sendall(frame(PONG, nonce))


# --- what the first process does ------------------------------------------------------------------------------------------


def orderly() -> None:
    """Answer two calls and exit before the third one."""
    second = take(4)[1]
    calls.sendall(result(second[0]))


def killed() -> None:
    """Die in the second call."""
    take(3)
    os.kill(os.getpid(), signal.SIGKILL)


def reset() -> None:
    """Die in the second call, while a fourth one is in the socket and is never read."""
    take(3)
    select.select([calls], [], [])


def forked() -> None:
    """Exit in the second call. A child in another process group keeps the descriptor open."""
    take(3)
    if os.fork() == 0:
        os.setsid()
        while calls.recv(65536):
            pass


def violation(written: bytes) -> None:
    """Answer one call and write this. Then run and answer the others."""
    _, second, third = take(3)
    calls.sendall(written)
    run(third[1])
    calls.sendall(result(second[0]) + result(third[0]))


def garbage() -> None:
    violation(b"\xff" * 40)


def oversize() -> None:
    violation(struct.pack("<IBBHQ", 1 << 31, RESULT, 0, 0, 1))


def half_frame() -> None:
    """Write half of the answer of the second call, and run the third one."""
    _, second, third = take(3)
    calls.sendall(result(second[0])[:-3])
    run(third[1])


def control_garbage() -> None:
    """Violate the protocol on the other descriptor."""
    _, _, third = take(3)
    run(third[1])
    control.sendall(b"\xff" * 40)
    signal.pause()


def closed() -> None:
    """Close the descriptor, and run the other calls without answers."""
    _, _, third = take(3)
    calls.shutdown(socket.SHUT_WR)
    run(third[1])
    signal.pause()


def out_of_order() -> None:
    """Answer the third call first, and run the fourth one."""
    taken = [next_call() for _ in range(4)]
    for _, number in taken:
        run(number)
    calls.sendall(result(taken[2][0]))


def of_no_call() -> None:
    """Answer the second call under another id, and run the third one."""
    _, second, third = take(3)
    calls.sendall(result(second[0] + 1000))
    run(third[1])


# -----------------------------------------------------------------------------------------------------------------------


def is_first() -> bool:
    try:
        os.close(os.open("first", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


next_frame(calls)  # the hello of the host
hello = {"protocol": 1, "pid": os.getpid(), "window": 8, "control": True, "in_order": 1}
ready = {"commands": [{"name": "run", "idempotent": False}]}
calls.sendall(frame(HELLO, 0, json.dumps(hello).encode()) + frame(READY, 0, json.dumps(ready).encode()))
threading.Thread(target=serve_control, daemon=True).start()
if is_first():
    globals()[sys.argv[1]]()
    os._exit(0)
while True:
    wire, number = next_call()
    run(number)
    calls.sendall(result(wire))
