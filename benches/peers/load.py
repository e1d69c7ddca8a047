"""The load: wrk for closed loops (each connection sends its next request after the answer), oha for open loops (a
constant rate, with latencies counted from when a request was due). Returns what was measured, in microseconds."""

import json
import re
import shutil
import subprocess

from servers import HOME, PeerError

UNITS = {"us": 1, "ms": 1e3, "s": 1e6}


def prepare(open_loop):
    """Check or install the tools."""
    if not shutil.which("wrk"):
        raise PeerError("wrk is not installed; on Debian and Ubuntu: apt-get install wrk")
    if open_loop and not oha().exists():
        print("installing oha, which sends at a constant rate (some minutes)")
        command = ["cargo", "install", "oha", "--quiet", "--locked", "--root", HOME, "--no-default-features"]
        subprocess.run([*command, "--features", "rustls"], check=True)


def oha():
    return HOME / "bin/oha"


def script(body):
    """Write the script with which wrk sends `body`, and return its path."""
    path = HOME / "post.lua"
    path.write_text(
        f"wrk.method = 'POST'\nwrk.body = '{body}'\nwrk.headers['Content-Type'] = 'application/json'\n"
        "done = function(summary, latency)\n"
        "  local e = summary.errors\n"
        '  io.write(string.format(\'JSON {"rate":%f,"failed":%d,"p50_us":%d,"p99_us":%d,"p99.9_us":%d}\','
        " summary.requests / summary.duration * 1e6, e.connect + e.read + e.write + e.status + e.timeout,"
        " latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))\nend\n"
    )
    return path


def closed(server, connections, seconds, pinned=False):
    """Send requests one after another on each connection. Adds the CPU time of the server per request."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script(server.body), server.url]
    if pinned:
        command = ["taskset", "-c", "0", *command]
    before = server.cpu_seconds()
    output = run(command)
    cpu = server.cpu_seconds() - before
    found = re.search(r"JSON (\{.*\})", output)
    if not found:
        raise PeerError(f"wrk printed no result: {output}")
    figures = json.loads(found[1])
    if failed := figures.pop("failed"):
        raise PeerError(f"{server.name}: {failed} requests failed with {connections} connections")
    return {**figures, "cpu_us": 1e6 * cpu / (figures["rate"] * seconds)}


def open_loop(server, connections, seconds):
    """Send requests at 70 % of the server's peak, whether or not the answers keep up."""
    # The peak is measured with the same tool: oha needs more CPU time for a request than wrk, so that 70 % of what wrk
    # measures could be more than server and oha can do together on these cores.
    peak = constant_rate(server, connections, seconds, [])["rate"]
    return constant_rate(server, connections, seconds + 3, ["--latency-correction", "-q", str(int(0.7 * peak))])


def constant_rate(server, connections, seconds, options):
    """Send requests with oha: at the rate of its option `-q`, or as fast as the answers arrive."""
    command = [oha(), "--no-tui", "--output-format", "json", *options]
    command += ["-c", str(connections), "-z", f"{seconds}s", "-m", "POST", "-d", server.body]
    result = json.loads(run([*command, "-T", "application/json", server.url]))
    statuses = {status: count for status, count in result["statusCodeDistribution"].items() if status != "200"}
    if statuses:
        raise PeerError(f"{server.name}: answers with other statuses than 200: {statuses}")
    percentiles = {name: 1e6 * result["latencyPercentiles"][name] for name in ("p50", "p99", "p99.9")}
    achieved = result["summary"]["requestsPerSec"]
    return {"rate": achieved, **{f"{name}_us": value for name, value in percentiles.items()}}


def run(command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode:
        raise PeerError(f"{command[0]} failed: {done.stderr.strip()}")
    return done.stdout
