"""The floor of the benchmark of buffers: two processes and nothing else.

Each line of standard input is `echo N BYTES` or `total N BYTES`; the answer is the nanoseconds of each of the N calls, as JSON.
`echo` sends bytes through a socket and back, into buffers that exist. `total` copies an array into shared memory that exists; the
other process sums it.
"""

import json
import mmap
import os
import socket
import sys
import time

import numpy

LARGEST = 64 << 20


def main():
    shared = mmap.mmap(-1, LARGEST)
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        serve(theirs, shared)
        os._exit(0)
    theirs.close()
    for line in sys.stdin:
        what, count, size = line.split()
        call = {"echo": echo, "total": total}[what](ours, shared, int(size))
        times = []
        for _ in range(int(count)):
            begin = time.perf_counter_ns()
            call()
            times.append(time.perf_counter_ns() - begin)
        print(json.dumps(times), flush=True)


def receive(stream, buffer):
    got = stream.recv_into(buffer, len(buffer), socket.MSG_WAITALL)
    if got != len(buffer):
        os._exit(0)


def echo(stream, _shared, size):
    sent, received = memoryview(bytes(size)), memoryview(bytearray(size))

    def call():
        stream.sendall(size.to_bytes(8, "little"))
        stream.sendall(sent)
        receive(stream, received)

    return call


def total(stream, shared, size):
    source, target = numpy.ones(size // 4, "<f4"), numpy.frombuffer(shared, "<f4", size // 4)
    answer = memoryview(bytearray(8))

    def call():
        numpy.copyto(target, source)
        stream.sendall(bytes(8))
        receive(stream, answer)

    return call


def serve(stream, shared):
    head, buffer = memoryview(bytearray(8)), memoryview(bytearray(LARGEST))
    array = numpy.frombuffer(shared, "<f4")
    while True:
        receive(stream, head)
        size = int.from_bytes(head, "little")
        if size:
            receive(stream, buffer[:size])
            stream.sendall(buffer[:size])
        else:
            stream.sendall(numpy.float64(array.sum()).tobytes())


main()
