"""R41, R44: this package reads and writes the golden frames of docs/protocol.md."""

import json
from pathlib import Path

import pytest

from herder import buffers, error_frames, frames, health
from herder.codec import decode, encode
from herder.errors import ProtocolError
from herder.worker import parse_hello
from host import FakeHost

PARTS = {"frames": [], "ignored": [], "malformed": []}


def _read():
    part = None
    path = Path(__file__).resolve().parents[2] / "crates" / "wire" / "golden" / "frames.txt"
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            part = PARTS[line.strip("[]")]
        elif line and not line.startswith("#"):
            name, way, data, fields = line.split(" ", 3)
            part.append(pytest.param(way, bytes.fromhex(data), json.loads(fields), id=name))


_read()
TO_WORKER, TO_HOST = (
    {part: [each for each in cases if each.values[0] == way] for part, cases in PARTS.items()} for way in "><"
)
NAMES = {
    frames.HELLO: "hello",
    frames.READY: "ready",
    frames.CALL: "call",
    frames.RESULT: "result",
    frames.ERROR: "error",
    frames.HEADERS: "headers",
    frames.CHUNK: "chunk",
    frames.BATCH: "batch",
    frames.CANCEL: "cancel",
    frames.REVOKE: "revoke",
    frames.ATTEMPT_STATE: "attempt_state",
    frames.PING: "ping",
    frames.PONG: "pong",
    frames.CREDIT: "credit",
    frames.SESSION_END: "session_end",
    frames.SHUTDOWN: "shutdown",
    frames.HEALTH_CHECK: "health_check",
    frames.HEALTH: "health",
    frames.SLAB_FREE: "slab_free",
    frames.SLAB_DROP: "slab_drop",
    frames.LOG_LEVEL: "log_level",
}
KINDS = {name: kind for kind, name in NAMES.items()}


def decoded(data):
    """Decode one frame as a worker does."""
    length, kind, flags, reserved, wire_id = frames.HEADER.unpack_from(data)
    assert frames.check_header(length, kind, flags, reserved, wire_id, 64 << 20)
    body = data[frames.HEADER_SIZE :]
    assert len(body) == length
    fields = {"kind": NAMES[kind], "wire_id": wire_id}
    if kind == frames.HELLO:
        fields["hello"] = parse_hello(body)
    elif kind == frames.CALL:
        deadline, epoch, command, session, begin = frames.call_prefix(body)
        fields |= {"deadline": deadline, "epoch": epoch, "command": command, "session": session}
        if flags & frames.STREAM:
            fields["stream"] = True
        json_text = body[begin:]
        if flags & frames.BUFFERS:
            section = buffers.read_section(wire_id, memoryview(body), begin)
            json_text, entries = section.json, zip(section.entries, section.views, strict=True)
            found = [
                {"at": each["at"], **place_of(each, view), **{key: each.get(key) for key in ("dtype", "shape", "type")}}
                for each, view in entries
            ]
            fields |= {"take": section.takes_buffers, "buffers": found}
        fields |= {"payload": decode(json_text), "payload_hex": json_text.hex()}
    elif kind == frames.HEADERS:
        fields["headers"] = frames.headers(body)
    elif kind == frames.BATCH:
        fields["calls"] = list(frames.batch(body))
    elif kind == frames.CANCEL:
        fields["interrupt"] = bool(flags & frames.INTERRUPT)
    elif kind == frames.CREDIT:
        fields["bytes"] = frames.credit(body)
    elif kind == frames.HEALTH_CHECK:
        fields["timeout_ms"] = round(frames.health_limit(body) * 1000)
    elif kind == frames.LOG_LEVEL:
        fields["level"] = frames.log_level(body)
    elif kind == frames.SESSION_END:
        fields["epoch"], fields["reason"], fields["session"] = frames.session_end(body)
    elif kind in (frames.SLAB_FREE, frames.SLAB_DROP):
        fields["slabs"] = list(frames.slab_ids(body))
    return fields


def place_of(entry, view):
    """Return the bytes of a buffer, or their place in a slab."""
    if view is not None:
        return {"hex": view.hex()}
    return {"hex": "", **{key: entry[key] for key in ("slab", "offset", "len")}}


@pytest.mark.parametrize("_way,data,fields", TO_WORKER["frames"])
def test_frames_from_the_host_are_read(_way, data, fields):
    assert decoded(data) == fields


def entry(fields):
    """Return the entry of a buffer in the table."""
    values = {"at": fields["at"], "len": len(fields["hex"]) // 2, **fields}
    keys = ("at", "len", "slab", "offset", "dtype", "shape", "type")
    return {key: values[key] for key in keys if values.get(key) is not None}


def encoded(fields):
    """Encode the fields as a worker does."""
    kind, wire_id = KINDS[fields["kind"]], fields["wire_id"]
    if kind in (frames.HELLO, frames.READY):
        return frames.frame(kind, wire_id, encode(fields[fields["kind"]]))
    if kind == frames.HEALTH:
        return health.answer(wire_id, fields["reason"])
    if kind in (frames.SLAB_FREE, frames.SLAB_DROP):
        return frames.slab_frame(kind, *fields["slabs"])
    if "end_of_stream" in fields:
        return frames.end_of_stream(wire_id, fields["started"], fields["ended"])
    if kind == frames.CHUNK and "buffers" in fields:
        found = [(entry(each), bytes.fromhex(each["hex"])) for each in fields["buffers"]]
        parts = buffers.section_parts(0, bytes.fromhex(fields["payload_hex"]), found)
        return frames.frame(kind, wire_id, b"".join(parts), frames.BUFFERS)
    if kind == frames.CHUNK:
        return frames.frame(kind, wire_id, bytes.fromhex(fields["payload_hex"]))
    if kind == frames.RESULT:
        payload = bytes.fromhex(fields["payload_hex"])
        if "buffers" in fields:
            found = [(entry(each), bytes.fromhex(each["hex"])) for each in fields["buffers"]]
            parts = buffers.section_parts(frames.STAMPS_SIZE, payload, found)
            head = (wire_id, fields["started"], fields["ended"])
            return b"".join(buffers.sized("", frames.RESULT | frames.BUFFERS << 8, head, parts, 64 << 20))
        return frames.answer(kind, wire_id, fields["started"], fields["ended"], payload)
    if kind == frames.ERROR:
        return error_frames.error_frame(wire_id, fields["error"], fields["started"], fields["ended"])
    if kind == frames.ATTEMPT_STATE:
        states = {"running": frames.RUNNING, "withdrawn": frames.WITHDRAWN, "finished": frames.FINISHED}
        return frames.frame(kind, wire_id, bytes((states[fields["state"]],)))
    return frames.frame(kind, wire_id)


@pytest.mark.parametrize("_way,data,fields", TO_HOST["frames"])
def test_frames_to_the_host_are_written(_way, data, fields):
    assert encoded(fields) == data


@pytest.mark.parametrize("_way,data,fields", [each for each in TO_HOST["frames"] if "payload" in each.values[2]])
def test_results_are_encoded_to_the_same_bytes(_way, data, fields):
    assert encode(fields["payload"]).hex() == fields["payload_hex"]


@pytest.mark.parametrize("_way,data,_fields", TO_WORKER["ignored"])
def test_optional_frames_are_ignored(_way, data, _fields):
    assert not frames.check_header(*frames.HEADER.unpack_from(data), 64 << 20)


# These end with the stream, which means that the host has died. That is no error of the worker.
CUT = {"truncated_header", "truncated_body"}


@pytest.mark.parametrize(
    "_way,data,fields", [each for each in TO_WORKER["malformed"] if each.values[2]["error"] not in CUT]
)
def test_malformed_frames_are_refused_by_name(_way, data, fields):
    with pytest.raises(ProtocolError) as found:
        decoded(data)
    assert found.value.name == fields["error"]


def kind_of(case):
    return case.values[1][4]


@pytest.mark.parametrize(
    "_way,data,fields",
    [
        each
        for each in TO_WORKER["malformed"]
        if each.values[2]["error"] not in CUT
        and kind_of(each)
        not in (frames.HELLO, frames.CANCEL, frames.REVOKE, frames.PING, frames.CREDIT, frames.LOG_LEVEL)
    ],
)
def test_a_worker_names_the_malformed_frame_and_exits(_way, data, fields):
    """R41: after it has answered the frames before."""
    with FakeHost("herder.demo:app") as host:
        host.ready()
        assert host.call("echo", x=1).result == {"x": 1}
        host.calls.sendall(data)
        status, _, err = host.wait_for_exit()
    assert status == 1
    assert f"({fields['error']})" in err


@pytest.mark.parametrize("_way,data,_fields", TO_WORKER["ignored"])
def test_a_worker_answers_calls_after_an_ignored_frame(_way, data, _fields):
    with FakeHost("herder.demo:app") as host:
        host.ready()
        host.calls.sendall(data)
        assert host.call("echo", x=1).result == {"x": 1}
