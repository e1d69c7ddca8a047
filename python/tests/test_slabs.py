"""R43: buffers in shared memory, in sync and async workers."""

import fcntl
import hashlib
import json
import mmap
import os
import socket
import struct
import sys
from pathlib import Path

import pytest

from herder import frames
from host import FakeHost, write_app
from test_exceptions import RAISE_ALARMS, read_outputs

SIZE = 1 << 20
SEALS = {"arguments": 1 | 2 | 4 | 0x10, "results": 2 | 4}
BIG = 100_000  # bytes of a buffer that travels in a slab

APP = """
import gc, hashlib, signal

@app.command
{a}def digest(x, y=b""):
    return [hashlib.sha256(x).hexdigest(), x.readonly, hashlib.sha256(y).hexdigest()]

@app.command
{a}def raises(x):
    raise ValueError(len(x))

@app.command
{a}def rejects(x):
    raise herder.Rejected("no")

kept = []

@app.command
{a}def keep(x, slice: int = 0):
    kept.append(memoryview(x)[slice:])
    return bytes(kept[-1][:3]).decode()

@app.command
{a}def kept_bytes(x=None):
    return [bytes(each[:3]).decode() for each in kept]

@app.command
{a}def drop(x=None):
    kept.clear()

@app.command
{a}def echo(x):
    return {{"x": x, "small": b"abc"}}

@app.command
{a}def zeros(size: int, fail: bool = False):
    return [bytes(size), object() if fail else None]

@app.command
{a}def fork(x):
    pid = os.fork()
    if not pid:
        del x  # the last view in the child
        gc.collect()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

@app.command
{a}def collect(x=None):
    gc.collect()

@app.command
{a}def parts(x):
    yield len(x)
    yield bytes(x[:2]).decode()

@app.command
{a}def modules(x=None):
    return "herder.slabs" in sys.modules, "ctypes" in sys.modules
"""


class Slab:
    """A slab, as the host makes one."""

    def __init__(self, id, purpose, size=SIZE, seals=None):
        self.id, self.purpose, self.size = id, purpose, size
        self.fd = os.memfd_create("test", os.MFD_ALLOW_SEALING)
        os.posix_fallocate(self.fd, 0, size)
        self.memory = mmap.mmap(self.fd, size)
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, SEALS[purpose] if seals is None else seals)

    def seals(self):
        return fcntl.fcntl(self.fd, fcntl.F_GET_SEALS)


class SlabHost(FakeHost):
    """A host that sends large buffers in slabs."""

    def __init__(self, folder, app=APP, define="", **options):
        super().__init__(write_app(folder, app.format(a=define)), slabs=True, **options)
        self.frees = []  # the ids in `slab_free` frames of the worker
        self.sent = {}  # slabs by id

    def pass_slab(self, purpose, **options):
        """Make a slab and pass it to the worker."""
        slab = self.sent[len(self.sent) + 1] = Slab(len(self.sent) + 1, purpose, **options)
        message = struct.pack("<QQQ", slab.id, slab.size, ["arguments", "results"].index(purpose))
        socket.send_fds(self.slabs, [message], [slab.fd])
        return slab

    def send_slabs(self, kind, *ids):
        self.calls.sendall(frames.frame(kind, 0, struct.pack(f"<{len(ids)}Q", *ids)))

    def send_call(self, command, value=None, slab=None, take=True, at=0, flags=0, session=None, **buffers):
        """Send a call whose buffers are in a slab, one after the other from the offset `at`; return its wire id."""
        entries = []
        for name, data in buffers.items():
            slab.memory[at : at + len(data)] = data
            entries.append({"at": "/" + name, "len": len(data), "slab": slab.id, "offset": at})
            at += len(data) + -len(data) % 64
        table, text = json.dumps({"take": take, "buffers": entries}).encode(), json.dumps(value or {}).encode()
        payload = struct.pack("<II", len(text), len(table)) + table + text
        wire_id, data = self.pack_call(command, payload, session=session, flags=frames.BUFFERS | flags)
        self.calls.sendall(data)
        return wire_id

    def next_answer(self):
        """Receive the next answer: wire id, value or error, and the buffers by place."""
        while (frame := self.frame())[0] == frames.SLAB_FREE:
            self.frees += frames.slab_ids(frame[3])
        kind, flags, wire_id, body = frame
        if kind == frames.ERROR or not flags & frames.BUFFERS:
            return wire_id, json.loads(body[16:]), {}
        text_len, table_len = struct.unpack_from("<II", body, 16)
        at, found = 24 + table_len + text_len, {}
        for entry in json.loads(body[24 : 24 + table_len])["buffers"]:
            if "slab" in entry:
                place = entry["offset"]
                assert place % 64 == 0
                found[entry["at"]] = entry["slab"], self.sent[entry["slab"]].memory[place : place + entry["len"]]
                continue
            at += -at % 16
            found[entry["at"]] = 0, body[at : at + entry["len"]]
            at += entry["len"]
        assert at == len(body)
        return wire_id, json.loads(body[24 + table_len : 24 + table_len + text_len]), found

    def run(self, command, value=None, slab=None, **options):
        """Make a call; return its value or error, and its buffers."""
        wire_id = self.send_call(command, value, slab, **options)
        answered, value, found = self.next_answer()
        assert answered == wire_id
        return value, found

    def take_frees(self):
        frees, self.frees = self.frees, []
        return frees


@pytest.fixture(params=["", "async "], ids=["sync", "async"])
def host(request, tmp_path):
    with SlabHost(tmp_path, define=request.param, concurrency=4) as host:
        yield host.ready()


def maps(host):
    """Return the lines that describe the mapped slabs."""
    return [line for line in Path(f"/proc/{host.process.pid}/maps").read_text().splitlines() if "memfd:test" in line]


def sha(data):
    return hashlib.sha256(data).hexdigest()


def test_arguments_are_read_where_the_host_wrote_them(host):
    assert host.hello["slabs"] is True
    assert host.run("modules")[0] == [False, False], "nothing is imported for a call without slabs"
    slab = host.pass_slab("arguments")
    for number in range(3):
        x, y = os.urandom(BIG), bytes([number]) * BIG
        assert host.run("digest", None, slab, x=x, y=y)[0] == [sha(x), True, sha(y)]
        assert host.take_frees() == [slab.id], "before the answer: no view is left"
    assert [line.split()[1] for line in maps(host)] == ["r--p"]


def test_a_view_that_is_kept_keeps_its_slab(host):
    first, second = host.pass_slab("arguments"), host.pass_slab("arguments")
    assert host.run("keep", {"slice": 1}, first, x=b"-ab" * BIG)[0] == "ab-"
    assert host.run("keep", None, second, x=b"cde" * BIG)[0] == "cde"
    assert host.run("kept_bytes") == (["ab-", "cde"], {})
    assert host.take_frees() == []
    host.run("drop")
    assert sorted(host.take_frees()) == [first.id, second.id], "the last slices are gone"
    assert host.run("digest", None, first, x=b"x")[0][0] == sha(b"x")


def test_each_call_gives_its_slab_back_once_however_it_ends(host):
    slab = host.pass_slab("arguments")
    for command, value, kind in [
        ("none", {}, "unknown_command"),
        ("digest", {"z": 1}, "bad_arguments"),
        ("digest", {"x": 1}, "bad_arguments"),
        ("raises", {}, "exception"),
        ("echo", {}, None),
        ("drop", {}, None),
    ]:
        answer, _ = host.run(command, value, slab, x=b"x" * BIG)
        assert kind is None or answer["kind"] == kind
        host.run("kept_bytes")
        assert host.take_frees() == [slab.id], command


def test_results_are_written_into_slabs_of_the_host(host):
    for _ in range(2):
        assert [slab for slab, _ in host.run("zeros", {"size": BIG})[1].values()] == [0], "there is no slab yet"
    small, large = host.pass_slab("results", size=1 << 17), host.pass_slab("results")
    arguments = host.pass_slab("arguments")
    data = os.urandom(BIG)
    assert host.run("echo", None, arguments, x=data)[1] == {"/x": (small.id, data), "/small": (0, b"abc")}
    assert small.seals() == large.seals() == 1 | 2 | 4 | 0x10, "nobody else can write a result"
    assert host.run("zeros", {"size": BIG})[1] == {"/0": (large.id, bytes(BIG))}
    assert host.run("zeros", {"size": BIG})[1] == {"/0": (0, bytes(BIG))}, "both are in use"
    assert host.run("zeros", {"size": 10_000})[1]["/0"][0] == 0
    host.send_slabs(frames.SLAB_FREE, small.id, large.id, 99)
    assert host.run("zeros", {"size": BIG, "fail": True})[0]["kind"] == "unencodable"
    assert host.run("zeros", {"size": 2 * SIZE})[1] == {"/0": (0, bytes(2 * SIZE))}, "too large for both"
    assert host.run("zeros", {"size": BIG})[1]["/0"][0] == small.id
    assert host.run("zeros", {"size": BIG})[1]["/0"][0] == large.id


def test_no_result_exceeds_max_frame_with_its_slab(tmp_path):
    """The host kills a worker whose result does. The place in the slab takes a few bytes of the frame."""
    with SlabHost(tmp_path, APP, max_frame=BIG + 150) as host:
        host.ready()
        slab, seen = host.pass_slab("results"), set()
        for size in range(BIG, BIG + 150):
            host.send_call("zeros", {"size": size})
            _, flags, _, body = host.frame()
            if flags & frames.BUFFERS:
                in_slab = b'"slab"' in body
                assert len(body) + in_slab * size <= BIG + 150
                seen.add(in_slab)
                if in_slab:
                    host.send_slabs(frames.SLAB_FREE, slab.id)
            else:
                seen.add(json.loads(body[16:])["kind"])
        assert seen == {True, False, "too_large"}


ROOM = """
import resource

@app.command
{a}def leave(room: int | None = None):
    size = int(open("/proc/self/statm").read().split()[0]) * 4096
    limit = resource.RLIM_INFINITY if room is None else size + room
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
"""


@pytest.mark.parametrize("define", ["", "async "], ids=["sync", "async"])
def test_slabs_for_which_there_is_no_room(tmp_path, define):
    with SlabHost(tmp_path, APP + ROOM, define) as host:
        host.ready()
        small = host.pass_slab("arguments")
        assert host.run("digest", None, small, x=b"x" * BIG)[0][0] == sha(b"x" * BIG)
        large, other = (host.pass_slab("arguments", size=64 << 20) for _ in range(2))
        assert host.run("leave", {"room": 32 << 20})[0] is None
        for slab in (large, other):
            assert host.run("digest", None, slab, x=b"y")[0]["type"] == "OSError"
        assert host.run("digest", None, small, x=b"z" * BIG)[0][0] == sha(b"z" * BIG)
        host.take_frees()
        host.send_slabs(frames.SLAB_DROP, large.id)
        while (frame := host.frame())[0] == frames.SLAB_FREE:
            pass
        assert frames.slab_ids(frame[3]) == (large.id,)
        assert host.run("leave")[0] is None
        assert host.run("digest", None, other, x=b"y")[0][0] == sha(b"y")
        links = [os.readlink(each.path) for each in os.scandir(f"/proc/{host.process.pid}/fd")]
        kept = 0 if sys.version_info >= (3, 13) else 2  # earlier, each mapping has a descriptor
        assert len([each for each in links if "memfd:test" in each]) == kept


DESCRIPTORS = """
import resource

@app.command
{a}def use_up(left: int = 0):
    used = {{int(each) for each in os.listdir("/proc/self/fd")}}
    while True:
        fd = os.open("/dev/null", os.O_RDONLY)
        if fd >= max(used):
            break
    resource.setrlimit(resource.RLIMIT_NOFILE, (fd + 1 + left, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
"""


def test_a_worker_without_free_descriptors_sends_results_in_frames(tmp_path):
    with SlabHost(tmp_path, APP + DESCRIPTORS) as host:
        host.ready()
        slab = host.pass_slab("results")
        assert host.run("zeros", {"size": BIG})[1]["/0"][0] == slab.id
        host.run("use_up")
        host.pass_slab("results")
        assert host.run("zeros", {"size": BIG})[1] == {"/0": (0, bytes(BIG))}


MAPPING_KEEPS_COPY = pytest.mark.skipif(sys.version_info >= (3, 13), reason="a mapping needs no descriptor")


@pytest.mark.parametrize("left", [0, pytest.param(1, marks=MAPPING_KEEPS_COPY)])
@pytest.mark.parametrize("define", ["", "async "], ids=["sync", "async"])
def test_a_worker_without_free_descriptors_drops_slabs_for_arguments(tmp_path, define, left):
    with SlabHost(tmp_path, APP + DESCRIPTORS, define) as host:
        host.ready()
        first = host.pass_slab("arguments")
        assert host.run("digest", None, first, x=b"x" * BIG)[0][0] == sha(b"x" * BIG)
        host.run("use_up", {"left": left})
        lost, after = host.pass_slab("arguments"), host.pass_slab("arguments")
        for slab in (lost, after):
            host.send_call("digest", None, slab, x=b"y" * BIG)
        found = []
        while len(found) < 4:
            kind, _, _, body = host.frame()
            if kind == frames.ERROR:
                found.append(json.loads(body[16:])["type"])
            if kind == frames.SLAB_DROP:
                found.append(frames.slab_ids(body))
        assert sorted(found, key=str) == [(lost.id,), (after.id,), "OSError", "OSError"]
        assert host.run("digest", None, first, x=b"z" * BIG)[0][0] == sha(b"z" * BIG)


def test_dropped_slabs_are_unmapped(host):
    used, unused, results = host.pass_slab("arguments"), host.pass_slab("results"), host.pass_slab("results")
    host.run("digest", None, used, x=b"x" * BIG)
    host.send_slabs(frames.SLAB_DROP, used.id, unused.id, 77)
    answer = host.frame(frames.SLAB_DROP)
    assert frames.slab_ids(answer[3]) == (used.id, unused.id, 77)
    assert len(maps(host)) == 1
    assert host.run("zeros", {"size": BIG})[1]["/0"][0] == results.id
    host.send_slabs(frames.SLAB_DROP, results.id)
    host.frame(frames.SLAB_DROP)
    links = [os.readlink(each.path) for each in os.scandir(f"/proc/{host.process.pid}/fd")]
    assert not [each for each in links if "memfd:test" in each], "no descriptor is left"


def test_a_slab_is_given_back_after_the_answer_if_views_are_left_then(host):
    """Here, no further call follows."""
    slab = host.pass_slab("arguments")
    for command, value, kind in (
        ("echo", None, None),
        ("raises", None, "exception"),
        ("rejects", None, "rejected"),
        ("digest", {"z": 1}, "bad_arguments"),
    ):
        assert host.run(command, value, slab, x=b"x" * BIG)[0].get("kind") == kind
        if not host.take_frees():
            assert frames.slab_ids(host.frame(frames.SLAB_FREE)[3]) == (slab.id,)


KEEPING = """
@app.command
{a}def store(x, session: herder.Session):
    session.state["x"] = x

@app.command
{a}def store_globally(x):
    kept.append(x)

@app.command
{a}def clear():
    kept.clear()
"""


@pytest.mark.parametrize("define", ["", "async "], ids=["sync", "async"])
def test_views_that_die_later_give_their_slab_back(tmp_path, define):
    """No further call with buffers follows, and after the end of the session no call at all."""
    with SlabHost(tmp_path, APP + KEEPING, define) as host:
        host.ready()
        slab = host.pass_slab("arguments")
        host.run("store_globally", None, slab, x=b"x" * BIG)
        assert host.take_frees() == []
        host.send("clear")
        seen = [host.frame(), host.frame()]
        assert sorted(frame[0] for frame in seen) == sorted([frames.RESULT, frames.SLAB_FREE])
        host.run("store", None, slab, session="s", x=b"x" * BIG)
        assert host.take_frees() == []
        host.end_session("s", 1)
        assert frames.slab_ids(host.frame(frames.SLAB_FREE)[3]) == (slab.id,)


def test_a_stream_gives_its_slab_back(host):
    slab = host.pass_slab("arguments")
    for _ in range(2):
        host.send_call("parts", None, slab, take=False, flags=frames.STREAM, x=b"xy" * BIG)
        assert [json.loads(host.frame(frames.CHUNK)[3]) for _ in range(2)] == [2 * BIG, "xy"]
        if (frame := host.frame())[0] == frames.SLAB_FREE:
            host.frees, frame = [*frames.slab_ids(frame[3])], host.frame()
        assert frame[:2] == (frames.RESULT, frames.END_OF_STREAM)
        host.run("kept_bytes")
        assert host.take_frees() == [slab.id]


def test_a_fork_gives_nothing_back(host):
    slab = host.pass_slab("arguments")
    for _ in range(2):
        assert host.run("fork", None, slab, x=b"x" * BIG)[0] == 0
        assert host.take_frees() == [slab.id]


@pytest.mark.parametrize(
    "slab,reason",
    [
        ({"seals": 1 | 2 | 4}, "lacks seals"),
        ({"seals": 0}, "lacks seals"),
        ({"stated": SIZE // 2}, "lacks seals"),
        ({"offset": SIZE}, "beyond the end"),
        ({"purpose": "results"}, "not passed"),
        ({"passed": False}, "not passed"),
        ({"twice": True}, "in use"),
    ],
    ids=str,
)
def test_a_host_that_breaks_the_rules_is_found(tmp_path, slab, reason):
    with SlabHost(tmp_path, pipeline=2) as host:
        host.ready()
        made = Slab(1, slab.get("purpose", "arguments"), seals=slab.get("seals"))
        purpose = ["arguments", "results"].index(made.purpose)
        if slab.get("passed", True):
            socket.send_fds(host.slabs, [struct.pack("<QQQ", 1, slab.get("stated", SIZE), purpose)], [made.fd])
        entry = {"at": "/x", "len": 1, "slab": 1, "offset": slab.get("offset", 0)}
        table = json.dumps({"take": True, "buffers": [entry]}).encode()
        payload = struct.pack("<II", 2, len(table)) + table + b"{}"
        for _ in range(1 + slab.get("twice", 0)):
            host.calls.sendall(host.pack_call("keep", payload, flags=frames.BUFFERS)[1])
        status, _, err = host.wait_for_exit()
        assert status == 1 and "(bad_slab)" in err and reason in err, err


@pytest.mark.parametrize("define", ["", "async "], ids=["sync", "async"])
def test_r26_exceptions_at_any_step_lose_no_slab(tmp_path, define):
    """The host kills a worker that gives a slab back twice. Here, each comes back exactly once, and nothing is lost."""
    with SlabHost(tmp_path, APP + RAISE_ALARMS, define, concurrency=4) as host:
        host.ready()
        spent = read_outputs(host)
        slabs = [host.pass_slab("arguments") for _ in range(4)]
        results = [host.pass_slab("results") for _ in range(2)]
        host.run("digest", None, slabs[0], x=b"x" * BIG)  # imports what an exception would leave half imported
        host.take_frees()
        free, answered, places = {slab.id for slab in slabs}, [], set()
        host.run("alarms", {"count": 500, "seed": 7})
        for number in range(20_000):
            if not free:
                host.run("modules")
            else:
                slab = host.sent[free.pop()]
                data = bytes([number % 251]) * BIG
                value, found = host.run("echo", None, slab, x=data)
                assert value.get("kind") in (None, "exception", "unencodable")
                answered.append(value.get("kind"))
                if found:
                    assert found["/x"][1] == data
                    places.add(found["/x"][0])
                    if found["/x"][0]:
                        host.send_slabs(frames.SLAB_FREE, found["/x"][0])
            for each in host.take_frees():
                assert each not in free, "given back twice"
                free.add(each)
            if spent.is_set():
                break
        else:
            pytest.fail("the alarms did not end")
        host.run("collect")  # tracebacks may be in cycles
        host.run("collect")
        assert free | set(host.take_frees()) == {slab.id for slab in slabs}
        assert None in answered and "exception" in answered
        assert results[0].id in places
        last = [host.run("echo", None, slab, x=b"x" * BIG)[1]["/x"][0] for slab in slabs[:2]]
        assert sorted(last) == [slab.id for slab in results], "both are free"


def test_an_app_with_buffers_imports_the_module_at_its_start(tmp_path):
    with SlabHost(tmp_path, "herder.Buffer\n" + APP) as host:
        host.ready()
        assert host.run("modules")[0][0] is True


@pytest.mark.parametrize("define", ["", "async "], ids=["sync", "async"])
def test_a_result_is_sent_although_the_module_cannot_be_imported(tmp_path, define):
    """A hook may have dropped the rights to read it."""
    with SlabHost(tmp_path, "sys.modules['herder.slabs'] = None\n" + APP, define) as host:
        host.ready()
        for command, kind in (("none", "unknown_command"), ("digest", "exception")):
            slab = host.pass_slab("arguments")
            assert host.run(command, None, slab, x=b"x" * BIG)[0]["kind"] == kind
            assert host.run("kept_bytes") == ([], {})


def test_without_ctypes_arguments_are_copied(tmp_path):
    text = "sys.modules['_ctypes'] = None\n" + APP
    with SlabHost(tmp_path, text) as host:
        host.ready()
        slab = host.pass_slab("arguments")
        for data in (b"abc" * BIG, b"xyz" * BIG):
            assert host.run("keep", None, slab, x=data)[0] == data[:3].decode()
            assert host.take_frees() == [slab.id]
        assert host.run("kept_bytes")[0] == ["abc", "xyz"]


def test_arrays_share_the_slab(tmp_path):
    pytest.importorskip("numpy")
    text = """
    import numpy as np
    @app.command
    def total(x: np.ndarray):
        kept[:] = [x[1:]]
        return [float(x.sum()), bool(x.flags.writeable)]
    @app.command
    def clear(x=None):
        kept.clear()
    kept = []
    """
    with SlabHost(tmp_path, text) as host:
        host.ready()
        slab = host.pass_slab("arguments")
        assert host.run("total", None, slab, x=b"\1" * BIG)[0] == [BIG, False]
        assert host.take_frees() == [], "a slice of the array is kept"
        host.run("clear")
        assert host.take_frees() == [slab.id]


@pytest.mark.parametrize("options", ["", "run_sync='thread'"], ids=["sync", "thread"])
def test_batches_have_buffers(tmp_path, options):
    text = f"""
    @app.batch({options})
    def reverse(items: list):
        return [[bytes(item["x"])[::-1], len(items)] for item in items]

    @app.command
    def nothing(): pass
    """
    with SlabHost(tmp_path, text.replace("{", "{{").replace("}", "}}"), concurrency=2) as host:
        host.ready()
        slabs = [host.pass_slab("arguments") for _ in range(2)]
        results = [host.pass_slab("results") for _ in range(2)]
        data = {host.next_id + 1: b"ab" * BIG, host.next_id + 2: b"cd" * BIG}
        host.calls.sendall(frames.frame(frames.BATCH, 0, struct.pack("<2Q", *data)))
        for slab, each in zip(slabs, data.values(), strict=True):
            host.send_call("reverse", None, slab, x=each)
        for result in results:
            wire_id, value, found = host.next_answer()
            assert value == [None, 2] and found["/0"] == (result.id, data[wire_id][::-1])
        host.run("nothing")
        while len(host.frees) < len(slabs):  # the thread may have the arguments for a moment longer
            host.run("nothing")
        assert sorted(host.take_frees()) == [slab.id for slab in slabs]


def test_handlers_in_threads_use_slabs(tmp_path):
    text = APP.replace("app.command", "app.command(run_sync='thread')")
    with SlabHost(tmp_path, text, concurrency=2) as host:
        host.ready()
        slab, results = host.pass_slab("arguments"), host.pass_slab("results")
        data = os.urandom(BIG)
        assert host.run("echo", None, slab, x=data)[1]["/x"] == (results.id, data)
        while not host.frees:  # the thread may have the arguments for a moment longer
            host.run("kept_bytes")
        assert host.take_frees() == [slab.id]
