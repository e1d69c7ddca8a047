"""The echo over gRPC, server and client: `grpc_echo.py _ WORKERS CALLERS SECONDS`. Prints one JSON object.

A gRPC server does not share its port among processes by itself, so there is one server process per worker, and the
callers take turns. The messages are JSON, without a schema: the cost of gRPC, not of protobuf.
"""

import itertools
import json
import multiprocessing
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
from executor import measure


def serve(port_sender):
    server = grpc.server(ThreadPoolExecutor(8))
    method = grpc.unary_unary_rpc_method_handler(
        lambda request, _context: request, json.loads, lambda value: json.dumps(value).encode()
    )
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("bench", {"echo": method})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    port_sender.send(port)
    server.wait_for_termination()


def main():
    workers, callers, seconds = int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    context, stubs, processes = multiprocessing.get_context("spawn"), [], []
    for _ in range(workers):
        receiver, sender = context.Pipe(False)
        process = context.Process(target=serve, args=(sender,), daemon=True)
        process.start()
        processes.append(process)
        channel = grpc.insecure_channel(f"127.0.0.1:{receiver.recv()}")
        stubs.append(channel.unary_unary("/bench/echo", lambda value: json.dumps(value).encode(), json.loads))
    turns = itertools.cycle(stubs)
    for _ in range(20 * workers):
        next(turns)({})
    latencies, took = measure(lambda arguments: next(turns)(arguments), callers, seconds)
    quantiles = {f"p{q:g}_us": 1e6 * latencies[int(len(latencies) * q / 100)] for q in (50, 99, 99.9)}
    print(json.dumps({"rate": len(latencies) / took, **quantiles}))
    for process in processes:
        process.terminate()


if __name__ == "__main__":
    main()
