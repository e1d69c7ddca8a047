#!/usr/bin/env python3
"""Sends the same 40 requests to the FastAPI service and to the Herder app, and compares the answers.

    python compare.py VENV HERDER

VENV is the folder of an environment with fastapi, uvicorn and numpy; HERDER is the program. Prints each pair and how
many lines of the service changed, and exits with 1 if two answers differ.
"""

import difflib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
# How the FastAPI service gets the arguments of a command: the method, the path, the argument that is the body.
ROUTES = {
    "place": ("POST", "/orders", "order"),
    "read": ("GET", "/orders/{order_id}", None),
    "search": ("GET", "/orders", None),
    "pay": ("POST", "/orders/{order_id}/pay", None),
    "ship": ("POST", "/orders/{order_id}/ship", None),
    "cancel": ("DELETE", "/orders/{order_id}", None),
    "totals": ("GET", "/totals", None),
    "statuses": ("GET", "/statuses", None),
    "discount": ("POST", "/discount", "prices"),
    "forecast": ("POST", "/forecast", "sales"),
}
ADDRESS = {"street": "Main St 1", "city": "Bonn"}
LINE = {"sku": "tea", "quantity": 2, "price": "4.50"}
ORDER = {"customer": "Ann", "address": ADDRESS, "lines": [LINE], "placed": "2026-01-02T03:04:05Z"}
UNKNOWN = "00000000-0000-0000-0000-000000000000"


def order(**changes):
    return {"order": {**ORDER, **changes}}


# `$0` is the id of the first order, `$1` that of the second.
REQUESTS = [
    ("statuses", {}),
    ("totals", {}),
    ("place", order()),
    ("place", order(customer="Bob", note="ring twice", lines=[LINE, {**LINE, "sku": "pot", "quantity": 1}])),
    ("place", order(placed="2026-03-01T00:00:00+02:00", address={**ADDRESS, "country": "FR"})),
    ("place", order(placed=None, note=None)),
    ("place", order(lines=[])),
    ("place", order(lines=[{**LINE, "quantity": 0}])),
    ("place", order(lines=[LINE, {**LINE, "price": "free"}])),
    ("place", order(lines=[{"sku": "tea"}])),
    ("place", order(address={"street": "Main St 1"})),
    ("place", order(address={**ADDRESS, "country": "Germany"})),
    ("place", order(placed="yesterday")),
    ("place", order(customer=7)),
    ("read", {"order_id": "$0"}),
    ("read", {"order_id": "$1"}),
    ("read", {"order_id": UNKNOWN}),
    ("read", {"order_id": "first"}),
    ("search", {}),
    ("search", {"limit": 2}),
    ("search", {"limit": 0}),
    ("search", {"status": "new"}),
    ("search", {"status": "lost"}),
    ("search", {"since": "2026-02-01T00:00:00Z"}),
    ("pay", {"order_id": "$0", "amount": "9.00"}),
    ("pay", {"order_id": "$1", "amount": "1.00"}),
    ("pay", {"order_id": UNKNOWN, "amount": "1.00"}),
    ("pay", {"order_id": "$0", "amount": "much"}),
    ("ship", {"order_id": "$0"}),
    ("ship", {"order_id": "$1"}),
    ("search", {"status": "shipped"}),
    ("totals", {}),
    ("cancel", {"order_id": "$1"}),
    ("cancel", {"order_id": "$1"}),
    ("discount", {"prices": ["10.00", "0.99"]}),
    ("discount", {"prices": ["10.00"], "percent": 101}),
    ("discount", {"prices": ["10.00", "ten"], "percent": 25}),
    ("forecast", {"sales": [1, 2, 3.5, 4]}),
    ("forecast", {"sales": [1.5]}),
    ("forecast", {"sales": [3, 1], "days": 2}),
]


def main(venv, herder):
    with tempfile.TemporaryDirectory() as folder:
        programs = Path(venv).absolute(), Path(herder).absolute()
        answers = [answers_of(server, *programs, Path(folder)) for server in (fastapi, herder_server)]
    differences = 0
    for request, before, after in zip(REQUESTS, *answers, strict=True):
        same = before == after
        differences += not same
        print(f"{'same ' if same else 'OTHER'} {request[0]:<9} {json.dumps(before)[:110]}")
        if not same:
            print(f"      herder:         {json.dumps(after)[:400]}\n      fastapi:        {json.dumps(before)[:400]}")
    changed, total = changed_lines()
    print(f"{len(REQUESTS) - differences} of {len(REQUESTS)} answers are the same; {changed} of {total} lines changed")
    return 1 if differences else 0


def changed_lines():
    before, after = ((HERE / name).read_text().splitlines() for name in ("before.py", "after.py"))
    changed = [line for line in difflib.ndiff(before, after) if line.startswith("+ ")]
    return len(changed), len(after)


def answers_of(server, venv, herder, folder):
    """The answers of one server to all requests, with the ids of the orders replaced by their numbers."""
    database, outbox = (str(folder / f"{server.__name__}.{kind}") for kind in ("db", "outbox"))
    environment = {**os.environ, "VIRTUAL_ENV": str(venv), "SHOP_DB": database, "SHOP_OUTBOX": outbox}
    port = free_port()
    command, ask = server(venv, herder, port)
    process = subprocess.Popen(command, cwd=HERE, env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_until_ready(port)
        ids, answers = [], []
        for command, arguments in REQUESTS:
            answers.append(numbered(ask(command, with_ids(arguments, ids)), command, ids))
        return answers
    finally:
        process.terminate()
        process.wait()


def fastapi(venv, _herder, port):
    def ask(command, arguments):
        method, path, body_name = ROUTES[command]
        body = arguments.get(body_name)
        query = {name: text for name, text in arguments.items() if name != body_name and f"{{{name}}}" not in path}
        url = f"http://127.0.0.1:{port}{path.format(**arguments)}?{urllib.parse.urlencode(query)}"
        status, answer = send(method, url, body)
        if status == 422:  # FastAPI says first whether the value was in the path, the query or the body
            return status, sorted([*error["loc"][1:], error["type"]] for error in answer["detail"])
        return status, answer["detail"] if status >= 400 else answer

    return [venv / "bin/python", "-m", "uvicorn", "before:app", f"--port={port}", "--log-level=error"], ask


def herder_server(venv, herder, port):
    def ask(command, arguments):
        status, answer = send("POST", f"http://127.0.0.1:{port}/v1/pools/after/call/{command}", arguments)
        if status == 422:  # Herder says first which argument the value was in
            body_name = ROUTES[command][2]
            return status, sorted(
                [*(error["loc"][1:] if error["loc"][0] == body_name else error["loc"]), error["type"]]
                for error in answer["errors"]
            )
        return status, answer["detail"] if status >= 400 else answer["result"]

    return [herder, "serve", "after.py:app", "--listen", f"127.0.0.1:{port}"], ask


def send(method, url, body):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def with_ids(arguments, ids):
    return {name: ids[int(text[1:])] if str(text).startswith("$") else text for name, text in arguments.items()}


def numbered(answer, command, ids):
    status, body = answer
    if command == "place" and status == 200:
        ids.append(body["id"])
    text = re.sub(r'"placed": "(?!2026-0)[^"]*"', '"placed": "now"', json.dumps(body))
    for number, found in enumerate(ids):
        text = text.replace(found, f"${number}")
    return status, json.loads(text)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until_ready(port):
    """Wait until the server answers its probe: Herder's is 200 once the workers are ready, FastAPI has none (404)."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if send("GET", f"http://127.0.0.1:{port}/readyz", None)[0] in (200, 404):
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit(f"no server on port {port} after 60 seconds")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    sys.exit(main(*sys.argv[1:]))
