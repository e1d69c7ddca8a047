"""A worker of the tests of slabs. Each command does what its name says; the others follow the rules.

Its slabs are described in docs/protocol.md. It reports what it was sent, so that the tests see what the host has made.
"""

import fcntl
import json
import mmap
import os
import socket
import struct
import sys
import threading
import time

HELLO, READY, CALL, RESULT, PING, PONG, SHUTDOWN, SLAB_FREE, SLAB_DROP = 1, 2, 3, 4, 14, 15, 20, 24, 25
BUFFERS = 0x04
F_ADD_SEALS, FUTURE_WRITE, SEAL = 1033, 0x10, 0x01
PUNCH_HOLE, KEEP_SIZE = 0x02, 0x01

calls, control, slabs = (
    socket.socket(fileno=int(os.environ[name])) for name in ("HERDER_FD", "HERDER_CTL_FD", "HERDER_SLAB_FD")
)
arguments: dict[int, mmap.mmap] = {}
results: dict[int, mmap.mmap] = {}
free: list[int] = []  # the slabs for results that this worker may write
received: list[list[int]] = []  # id, size and purpose of each slab
dropped: list[int] = []
write_lock = threading.Lock()


def read(stream, size):
    data = stream.recv(size, socket.MSG_WAITALL) if size else b""
    if len(data) < size:
        sys.exit(0)
    return data


def next_frame(stream):
    length, kind, flags, _, wire = struct.unpack("<IBBHQ", read(stream, 16))
    return kind, flags, wire, read(stream, length)


def send(kind, wire, body=b"", flags=0):
    with write_lock:
        calls.sendall(struct.pack("<IBBHQ", len(body), kind, flags, 0, wire) + body)


def ids(*numbers):
    return struct.pack(f"<{len(numbers)}Q", *numbers)


def take_slabs(mode):
    """Map the slabs that the host has sent."""
    while True:
        try:
            message, fds, _, _ = socket.recv_fds(slabs, 24, 1)
        except BlockingIOError:
            return
        number, size, purpose = struct.unpack("<QQQ", message)
        received.append([number, size, purpose])
        (fd,) = fds
        if purpose == 0:
            try:
                mmap.mmap(fd, size)
                raise SystemExit("the arguments can be written")
            except PermissionError:
                arguments[number] = mmap.mmap(fd, size, prot=mmap.PROT_READ)
        else:
            results[number] = mmap.mmap(fd, size)
            free.append(number)
            for length in (0, size * 2):
                try:
                    os.ftruncate(fd, length)
                    raise SystemExit("the slab can be resized")
                except PermissionError:
                    pass
            if mode == "punched":
                import ctypes

                fallocate = ctypes.CDLL(None, use_errno=True).fallocate
                fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
                assert fallocate(fd, PUNCH_HOLE | KEEP_SIZE, size // 2, 4096) == 0
            if mode != "unsealed":
                fcntl.fcntl(fd, F_ADD_SEALS, FUTURE_WRITE | SEAL)
        os.close(fd)


def read_call(body):
    """Return the command, the JSON, and the buffers: each with its slab, or None."""
    command_length, session_length = struct.unpack_from("<HH", body, 16)
    command = body[20 : 20 + command_length].decode()
    at = 20 + command_length + session_length
    json_length, table_length = struct.unpack_from("<II", body, at)
    table = json.loads(body[at + 8 : at + 8 + table_length])
    position = at + 8 + table_length + json_length
    value = json.loads(body[position - json_length : position])
    found = []
    for entry in table["buffers"]:
        if "slab" in entry:
            if entry["slab"] not in arguments:
                take_slabs("")
            view = memoryview(arguments[entry["slab"]])[entry["offset"] : entry["offset"] + entry["len"]]
            assert len(view) == entry["len"], entry
            found.append((entry["slab"], view))
        else:
            position += -position % 16
            found.append((None, memoryview(body)[position : position + entry["len"]]))
            position += entry["len"]
    return command, value, found


def answer(wire, value, entries=(), data=b""):
    text, table = json.dumps(value).encode(), json.dumps({"buffers": list(entries)}).encode()
    now = time.monotonic_ns()
    body = struct.pack("<QQII", now, now, len(text), len(table)) + table + text
    if data:
        body += bytes(-len(body) % 16) + data
    send(RESULT, wire, body, BUFFERS)


def answer_with(wire, mode, data):
    """Answer with one buffer: in a free slab if there is a large enough one, else in the frame."""
    take_slabs(mode)
    number = next((each for each in free if len(results[each]) >= len(data)), None)
    if number is None:
        answer(wire, [None, received, dropped], [{"at": "/0", "len": len(data)}], data)
        return None
    free.remove(number)
    results[number][: len(data)] = data
    place = {"at": "/0", "len": len(data), "slab": number, "offset": 0}
    if mode == "range":
        place["offset"] = len(results[number]) - 16
    if mode == "unknown":
        place["slab"] = 99
    if mode == "purpose":
        place["slab"] = next(iter(arguments))
    answer(wire, [None, received, dropped], [place])
    return number


def run(wire, command, found):
    data = bytes(found[0][1]) if found else bytes(100_000)
    used = {slab for slab, _ in found if slab is not None}
    found.clear()
    if command in ("twice", "never_free"):
        for slab in used if command == "twice" else ():
            send(SLAB_FREE, 0, ids(slab, slab))
    else:
        for slab in used:
            send(SLAB_FREE, 0, ids(slab))
    if command == "drops":
        send(SLAB_DROP, 0, ids(1))
    number = answer_with(wire, command, data)
    if command == "rewrite" and number is not None:
        threading.Thread(target=rewrite, args=(results[number],), daemon=True).start()
    if command == "reuse" and number is not None:
        free.append(number)


def rewrite(memory):
    """Change the result for ever, also while the host copies it."""
    for byte in iter(lambda: os.urandom(1), b""):
        memory[:100_000] = byte * 100_000


def serve_control():
    while True:
        kind, _, wire, _ = next_frame(control)
        if kind == PING:
            control.sendall(struct.pack("<IBBHQ", 0, PONG, 0, 0, wire))


def main():
    next_frame(calls)
    hello = {"protocol": 1, "pid": os.getpid(), "window": 1, "control": True, "buffers": True, "slabs": True}
    send(HELLO, 0, json.dumps(hello).encode())
    send(READY, 0, json.dumps({"commands": [{"name": name} for name in sys.argv[1:]]}).encode())
    threading.Thread(target=serve_control, daemon=True).start()
    while True:
        kind, flags, wire, body = next_frame(calls)
        if kind == SHUTDOWN:
            sys.exit(0)
        if kind == SLAB_FREE:
            free.extend(each for (each,) in struct.iter_unpack("<Q", body) if each in results)
        if kind == SLAB_DROP:
            for (each,) in struct.iter_unpack("<Q", body):
                take_slabs("")
                (arguments.pop(each, None) or results.pop(each)).close()
                if each in free:
                    free.remove(each)
                dropped.append(each)
            send(SLAB_DROP, 0, body)
        if kind == CALL and not flags & BUFFERS:
            send(RESULT, wire, bytes(16) + b"null")
        elif kind == CALL:
            command, _, found = read_call(body)
            run(wire, command, found)


main()
