"""The echo through a process executor of the standard library, or Ray: `executor.py KIND WORKERS CALLERS SECONDS`.

The callers are threads of one Python process, as they are in an application that uses these. Prints one JSON object.
"""

import json
import multiprocessing
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor


def echo(arguments):
    return arguments


def concurrent(workers):
    executor = ProcessPoolExecutor(workers)
    return lambda arguments: executor.submit(echo, arguments).result(), executor.shutdown


def multiprocess(workers):
    pool = multiprocessing.Pool(workers)
    return lambda arguments: pool.apply(echo, (arguments,)), pool.terminate


def ray(workers):
    import itertools

    import ray as library

    library.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, configure_logging=False)

    @library.remote
    class Echo:
        def echo(self, arguments):
            return arguments

    turns = itertools.cycle([Echo.remote() for _ in range(workers)])
    return lambda arguments: library.get(next(turns).echo.remote(arguments)), library.shutdown


KINDS = {"ProcessPoolExecutor": concurrent, "multiprocessing.Pool": multiprocess, "Ray": ray}


def measure(call, callers, seconds):
    """Call in a loop from each thread; returns the latencies in seconds and the time that all of it took."""
    arguments, latencies = {"x": 1, "text": "x" * 32}, [[] for _ in range(callers)]
    begin = time.perf_counter()

    def loop(mine):
        while (before := time.perf_counter()) - begin < seconds:
            call(arguments)
            mine.append(time.perf_counter() - before)

    threads = [threading.Thread(target=loop, args=(mine,)) for mine in latencies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(latency for mine in latencies for latency in mine), time.perf_counter() - begin


def main():
    kind, workers, callers, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    call, stop = KINDS[kind](workers)
    for _ in range(20 * workers):
        call({})
    latencies, took = measure(call, callers, seconds)
    quantiles = {f"p{q:g}_us": 1e6 * latencies[int(len(latencies) * q / 100)] for q in (50, 99, 99.9)}
    print(json.dumps({"rate": len(latencies) / took, **quantiles}))
    stop()


if __name__ == "__main__":
    main()
