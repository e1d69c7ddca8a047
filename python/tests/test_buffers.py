"""R43: arguments and results that are binary data, in sync and async workers and in `herder.testing`."""

import hashlib
import json
import struct

import pytest

import herder
from herder import buffers, frames
from herder.testing import CallError, Client
from host import FakeHost, write_app

APP = """
import herder, array, os, hashlib

@app.command
{a}def any(x=None, *, y=0):
    return [type(x).__name__, getattr(x, "format", None), list(getattr(x, "shape", ())), x.readonly if x else None, y]

@app.command
{a}def copy(x: bytes):
    return {{"type": type(x).__name__, "text": x.decode()}}

@app.command
{a}def view(x: memoryview, y: bytearray = bytearray(b"-")):
    return type(x).__name__ + type(y).__name__ + x.tobytes().decode() + y.decode()

@app.command
{a}def number(x: int):
    return x

@app.command
{a}def results():
    return {{"a": [b"abc", bytearray(b""), memoryview(b"xyz")], "~/": array.array("h", [1, -2]), "n": 1.5,
            "png": herder.Buffer(b"p", media_type="image/png"), 7: b"7"}}

@app.command
{a}def root():
    return b"whole"

@app.command
{a}def huge(size: int):
    return [bytes(size)]

@app.command
{a}def digest(x, parts: list):
    return [hashlib.sha256(x).hexdigest(), x.nbytes, [hash(memoryview(bytes(each))) for each in parts]]

@app.command
{a}def many():
    return [b"x"] * 1025

kept = []

@app.command
{a}def keep(x):
    kept.append(x[1:3])
    return [bytes(each).decode() for each in kept]

@app.command
{a}def session(x, session: herder.Session, call: herder.Call):
    return [session.id, x.tobytes().decode(), call.id]
"""


@pytest.fixture(params=["", "async "], ids=["sync", "async"])
def host(request, tmp_path):
    with FakeHost(write_app(tmp_path, APP.format(a=request.param)), max_frame=1 << 20) as host:
        yield host.ready()


def section(body_begin, value, attached, take):
    """Lay out the arguments of a call as docs/protocol.md says."""
    entries = [{"at": at, "len": len(data), **more} for at, data, more in attached]
    table, text = json.dumps({"take": take, "buffers": entries}).encode(), json.dumps(value).encode()
    out = struct.pack("<II", len(text), len(table)) + table + text
    for _, data, _ in attached:
        out += bytes(-(body_begin + len(out)) % 16) + data
    return out


def call(host, command, value=None, *attached, take=True, session=None):
    """Make a call with buffers; return its result or error, and its buffers by place."""
    begin = frames.PREFIX_SIZE + len(command) + len(session or "")
    payload = section(begin, value or {}, attached, take)
    wire_id, data = host.pack_call(command, payload, session=session, flags=frames.BUFFERS)
    host.calls.sendall(data)
    kind, flags, id, body = host.frame()
    assert id == wire_id
    if kind == frames.ERROR or not flags & frames.BUFFERS:
        return json.loads(body[16:]), {}
    text_len, table_len = struct.unpack_from("<II", body, 16)
    table = json.loads(body[24 : 24 + table_len])
    at = 24 + table_len + text_len
    found = {}
    for entry in table["buffers"]:
        at += -at % 16
        found[entry["at"]] = (body[at : at + entry["len"]], entry.get("dtype"), entry.get("shape"), entry.get("type"))
        at += entry["len"]
    assert at == len(body)
    return json.loads(body[24 + table_len : 24 + table_len + text_len]), found


def test_a_handler_gets_a_read_only_view(host):
    assert call(host, "any", {"y": 2}, ("/x", b"abc", {}))[0] == ["memoryview", "B", [3], True, 2]
    floats = struct.pack("<6f", *range(6))
    found, _ = call(host, "any", None, ("/x", floats, {"dtype": "<f4", "shape": [2, 3]}))
    assert found == ["memoryview", "f", [2, 3], True, 0]
    half, _ = call(host, "any", None, ("/x", b"ab", {"dtype": "<f2", "shape": [1]}))
    assert half == ["memoryview", "B", [2], True, 0], "a memoryview has no such format"
    assert call(host, "any", None, ("/x", b"", {}))[0][:3] == ["memoryview", "B", [0]]


def test_annotations_say_what_the_handler_gets(host):
    assert call(host, "copy", None, ("/x", b"abc", {}))[0] == {"type": "bytes", "text": "abc"}
    assert host.call("copy", x="YWJj").result == {"type": "bytes", "text": "abc"}
    assert call(host, "view", None, ("/x", b"a", {}), ("/y", b"b", {}))[0] == "memoryviewbytearrayab"
    assert host.call("view", x="YWJj").result == "memoryviewbytearrayabc-"


def test_a_buffer_that_does_not_fit_is_refused(host):
    for command, value, attached, reason in [
        ("number", {}, ("/x", b"1", {}), "integer"),
        ("any", {"x": 1}, ("/x", b"1", {}), "given twice"),
        ("any", {}, ("/z", b"1", {}), "'z'"),
        ("copy", {}, ("/y", b"1", {}), "'y'"),
    ]:
        error, _ = call(host, command, value, attached)
        assert error["kind"] == "bad_arguments" and reason in error["message"], error
    assert call(host, "any", {"x": None}, ("/x", b"1", {}))[0][0] == "memoryview", "null stands in its place"
    assert call(host, "none", {}, ("/x", b"1", {}))[0]["kind"] == "unknown_command"


def test_results_have_buffers_only_for_callers_that_take_them(host):
    value, found = call(host, "results")
    assert value == {"a": [None, None, None], "~/": None, "n": 1.5, "png": None, "7": None}
    assert found == {
        "/a/0": (b"abc", None, None, None),
        "/a/1": (b"", None, None, None),
        "/a/2": (b"xyz", None, None, None),
        "/~0~1": (struct.pack("=2h", 1, -2), "<i2", [2], None),
        "/png": (b"p", None, None, "image/png"),
        "/7": (b"7", None, None, None),
    }
    plain = {"a": ["YWJj", "", "eHl6"], "~/": [1, -2], "n": 1.5, "png": "cA==", "7": "Nw=="}
    assert call(host, "results", take=False) == (plain, {})
    assert host.call("results").result == plain
    assert call(host, "root") == (None, {"": (b"whole", None, None, None)})
    assert call(host, "number", {"x": 1}) == (1, {})


def test_results_that_do_not_fit_are_refused(host):
    assert call(host, "huge", {"size": 1 << 20})[0]["kind"] == "too_large"
    error, _ = call(host, "many")
    assert error["kind"] == "unencodable" and "1025 buffers" in error["message"]
    value, found = call(host, "huge", {"size": 1000_000})
    assert (value, len(found["/0"][0])) == ([None], 1000_000)


def test_large_frames_and_frames_beside_others(host):
    data = bytes(range(256)) * 3000
    for _ in range(3):
        found, _ = call(host, "digest", {"parts": []}, ("/x", data, {}))
        assert found[:2] == [hashlib.sha256(data).hexdigest(), len(data)]
    plain = host.pack_call("number", b'{"x":1}')[1]
    begin = frames.PREFIX_SIZE + 4
    mixed = host.pack_call("copy", section(begin, {}, [("/x", b"abc", {})], False), flags=frames.BUFFERS)[1]
    host.calls.sendall(plain + mixed + host.pack_call("number", b'{"x":1}')[1])
    assert [host.frame()[0] for _ in range(3)] == [frames.RESULT] * 3


def test_a_view_that_is_kept_keeps_its_bytes(host):
    for text in (b"-ab-", b"-cd-"):
        found, _ = call(host, "keep", None, ("/x", text * 1, {}))
    assert found == ["ab", "cd"]


def test_sessions_and_calls_are_supplied(host):
    found, _ = call(host, "session", None, ("/x", b"abc", {}), session="ann")
    assert found == ["ann", "abc", host.next_id]
    assert "needs a session" in call(host, "session", None, ("/x", b"abc", {}))[0]["message"]


def test_an_interrupt_ends_a_call_with_buffers(tmp_path):
    text = "@app.command\ndef spin(x):\n    print('spins', flush=True)\n    while True: pass\n"
    with FakeHost(write_app(tmp_path, text)) as host:
        host.ready()
        payload = section(frames.PREFIX_SIZE + 4, {}, [("/x", b"abc", {})], True)
        wire_id, data = host.pack_call("spin", payload, flags=frames.BUFFERS)
        host.calls.sendall(data)
        assert host.wait_for_line() == "spins"
        host.cancel(wire_id, interrupt=True)
        assert host.answer().error_kind == "cancelled"


def test_buffers_are_imported_only_when_a_call_has_some(tmp_path):
    with FakeHost(write_app(tmp_path, "@app.command\ndef names(x=0): return sorted(sys.modules)\n")) as host:
        host.ready()
        assert "herder.buffers" not in host.call("names").result
        assert "herder.buffers" in call(host, "names")[0]


def test_the_client_passes_buffers():
    app = herder.App()

    @app.command
    def both(x, y: bytes = b""):
        return {"x": x, "y": y.decode(), "type": type(x).__name__}

    @app.command
    def picture():
        return herder.Buffer(b"png", media_type="image/png")

    plain = Client(app)
    assert plain.call("both", x=b"abc", y=bytearray(b"d")) == {"x": "YWJj", "y": "d", "type": "memoryview"}
    assert plain.call("picture") == "cG5n"
    with pytest.raises(CallError, match="cannot be encoded"):
        plain.call("both", x=object())
    taking = Client(app, take_buffers=True)
    assert bytes(taking.call("both", x=b"abc")["x"]) == b"abc"
    assert bytes(taking.call("picture")) == b"png"


@pytest.mark.parametrize("name", ["", "x" * 256, "im\u00e4ge", "a\nb"])
def test_invalid_media_types_are_refused(name):
    with pytest.raises(ValueError, match="media_type"):
        herder.Buffer(b"", media_type=name)


def test_the_media_type_is_fixed():
    picture = herder.Buffer(b"", media_type="image/png")
    with pytest.raises(AttributeError):
        picture.media_type = "a\nb"
    assert picture.media_type == "image/png"


def test_element_types_have_the_sizes_that_numpy_has():
    sizes = {"b": [1], "i": [1, 2, 4, 8], "u": [1, 2, 4, 8], "f": [2, 4, 8, 16], "c": [8, 16, 32]}
    known = {kind: [size for size in range(100) if buffers.element_size(f"<{kind}{size}")] for kind in "biufcOSV"}
    assert known == {**{kind: [] for kind in "OSV"}, **sizes}
    assert [buffers.element_size(each) for each in ("f4", "", "=f4", "<f04", None)] == [None] * 5


def test_a_released_view_says_nothing_of_later_views():
    encoder = buffers.ResultEncoder({}, True)
    released = memoryview(b"x")
    released.release()
    with pytest.raises(herder.errors.CallRejection, match=r"result\[0\]: .*released"):
        encoder.encode([released])
    assert [entry["at"] for entry, _ in encoder.encode([memoryview(b"x")])[1]] == ["/0"]


def test_forms_of_the_app_are_asked_once():
    class Items:
        def __init__(self):
            self.rest = iter("ab")

        def __json__(self):
            return list(self.rest)

    for encoders, items in (({}, Items()), ({type(iter([])): list}, iter(["a", "b"]))):
        json, found = buffers.ResultEncoder(encoders, True).encode([items, b"x"])
        assert (json, [entry["at"] for entry, _ in found]) == (b'[["a","b"],null]', ["/1"])


def test_two_buffers_never_have_the_same_place():
    with pytest.raises(herder.errors.CallRejection, match="same form"):
        buffers.ResultEncoder({}, True).encode({1: b"x", "1": b"y"})


def test_values_without_the_buffer_protocol_are_no_buffers():
    with pytest.raises(TypeError):
        herder.Buffer("text")
    encoder = buffers.ResultEncoder({bytes: bytes.decode}, False)
    assert encoder.encode({"x": b"abc", 1.5: [True]}) == (b'{"x":"abc","1.5":[true]}', [])
    json_text, found = encoder.encode({1.5: bytearray(b"a"), None: bytearray(b"b"), True: bytearray(b"c")})
    assert (json_text, [entry["at"] for entry, _ in found]) == (
        b'{"1.5":null,"null":null,"true":null}',
        ["/1.5", "/null", "/true"],
    )
    strided = memoryview(b"abcdef")[::2]
    assert bytes(encoder.encode([strided])[1][0][1]) == b"ace"


@pytest.mark.parametrize("define", ["def", "async def", "thread"])
def test_items_of_streams_have_buffers(tmp_path, define):
    options, define = ("(run_sync='thread')", "def") if define == "thread" else ("", define)
    text = f"""
    @app.command{options}
    {define} frames(count: int):
        image = bytearray(100_000)
        for n in range(count):
            image[:] = bytes([n]) * len(image)
            yield {{"n": n, "image": image}}
    """
    with FakeHost(write_app(tmp_path, text)) as host:
        host.ready()
        payload = section(frames.PREFIX_SIZE + 6, {"count": 5}, [], True)
        wire_id, data = host.pack_call("frames", payload, flags=frames.BUFFERS | frames.STREAM)
        host.calls.sendall(data)
        for number in range(5):
            kind, flags, received, body = host.frame()
            assert (kind, flags, received) == (frames.CHUNK, frames.BUFFERS, wire_id)
            json_length, table_length = struct.unpack_from("<II", body)
            assert json.loads(body[8 + table_length :][:json_length]) == {"n": number, "image": None}
            assert json.loads(body[8 : 8 + table_length]) == {"buffers": [{"at": "/image", "len": 100_000}]}
            assert body[-100_000:] == bytes([number]) * 100_000
            host.credit(wire_id, frames.HEADER_SIZE + len(body))
        assert host.frame()[:2] == (frames.RESULT, frames.END_OF_STREAM)
        assert [len(each["image"]) for each in host.stream("frames", count=1)[0]] == [133_336], "base64"
