"""R43: arrays of numpy, tensors of other libraries, and tables of pyarrow as arguments and results."""

import contextlib
import struct
import sys
import types

import pytest

import herder
from herder import buffers, frames
from herder.testing import CallError, Client
from host import FakeHost, write_app
from test_buffers import call, section

NUMPY = """
import numpy as np
from numpy.typing import NDArray

@app.command
{a}def shape(x: np.ndarray):
    return [str(x.dtype), list(x.shape), bool(x.flags.writeable), bool(x.flags.owndata), float(x.sum())]

@app.command
{a}def floats(x: NDArray[np.float32], y: NDArray[np.int64] | None = None):
    return [str(x.dtype), list(x.shape), None if y is None else y.tolist()]

@app.command
{a}def arrays():
    grid = np.arange(6, dtype="<f4").reshape(2, 3)
    return {{"c": grid, "t": grid.T, "none": np.zeros((0, 3)), "one": np.float64(1.5), "big": grid.astype(">f4"),
            "half": np.ones(2, "f2"), "day": np.array(["2026-01-01"], "M8[D]"), "text": np.array(["a"]),
            "z": np.array(1j), "ok": np.array([True])}}

state = np.zeros(3, "<i4")

@app.command
{a}def count(x: np.ndarray):
    state[:] += 1
    return state
"""


@pytest.fixture(params=["", "async "], ids=["sync", "async"])
def numpy_host(request, tmp_path):
    pytest.importorskip("numpy")
    with FakeHost(write_app(tmp_path, NUMPY.format(a=request.param))) as host:
        yield host.ready()


def test_arrays_are_views(numpy_host):
    floats = ("/x", struct.pack("<6f", *range(6)), {"dtype": "<f4", "shape": [2, 3]})
    assert call(numpy_host, "shape", None, floats)[0] == ["float32", [2, 3], False, False, 15.0]
    assert call(numpy_host, "shape", None, ("/x", b"\1\2", {}))[0] == ["uint8", [2], False, False, 3.0]
    half = ("/x", struct.pack("<2e", 1, 2), {"dtype": "<f2", "shape": [2]})
    assert call(numpy_host, "shape", None, half)[0] == ["float16", [2], False, False, 3.0]
    empty = ("/x", b"", {"dtype": "<f4", "shape": [2, 0]})
    assert call(numpy_host, "shape", None, empty)[0] == ["float32", [2, 0], False, False, 0.0]
    assert numpy_host.call("shape", x=[[1, 2], [3, 4]]).result == ["int64", [2, 2], True, True, 10.0]


def test_arrays_are_checked_against_their_annotation(numpy_host):
    floats = ("/x", struct.pack("<2f", 1, 2), {"dtype": "<f4", "shape": [2]})
    big = ("/x", struct.pack(">2f", 1, 2), {"dtype": ">f4", "shape": [2]})
    longs = ("/y", struct.pack("<2q", 3, 4), {"dtype": "<i8", "shape": [2]})
    assert call(numpy_host, "floats", None, floats, longs)[0] == ["float32", [2], [3, 4]]
    assert call(numpy_host, "floats", None, big)[0] == ["float32", [2], None]
    assert call(numpy_host, "floats", None, ("/x", bytes(12), {}))[0] == ["float32", [3], None]
    assert numpy_host.call("floats", x=[1, 2.5], y=[1]).result == ["float32", [2], [1]]
    for attached, value, kind in [
        (("/x", struct.pack("<d", 1), {"dtype": "<f8", "shape": [1]}), {}, "array_dtype"),
        (("/x", bytes(5), {}), {}, "array_size"),
        (floats, {"y": [1.5]}, "array_dtype"),
        (floats, {"y": [2**63]}, "array_range"),
        (floats, {"y": ["a"]}, "array_type"),
        (floats, {"y": [[1], [1, 2]]}, "array_type"),
        (floats, {"y": 5}, "array_type"),
    ]:
        error, _ = call(numpy_host, "floats", value, attached)
        assert [each["type"] for each in error["errors"]] == [kind], error


def test_results_with_arrays(numpy_host):
    value, found = call(numpy_host, "arrays")
    assert value == {
        **dict.fromkeys(["c", "t", "none", "big", "half", "z", "ok"]),
        "one": 1.5,
        "day": ["2026-01-01"],
        "text": ["a"],
    }
    assert found["/c"] == (struct.pack("<6f", *range(6)), "<f4", [2, 3], None)
    assert found["/t"] == (struct.pack("<6f", 0, 3, 1, 4, 2, 5), "<f4", [3, 2], None)
    assert found["/none"] == (b"", "<f8", [0, 3], None)
    assert found["/big"] == (struct.pack(">6f", *range(6)), ">f4", [2, 3], None)
    assert found["/half"] == (struct.pack("<2e", 1, 1), "<f2", [2], None)
    assert found["/z"] == (struct.pack("<2d", 0, 1), "<c16", [], None)
    assert found["/ok"] == (b"\1", "|b1", [1], None)


def test_subclasses_of_arrays_are_sent_as_arrays_or_keep_their_forms():
    np = pytest.importorskip("numpy")
    encoder = buffers.ResultEncoder({}, True)
    matrix = np.arange(4, dtype="<f8").reshape(2, 2).view(np.matrix)
    json, [(entry, data)] = encoder.encode(matrix)
    assert (json, len(data), entry) == (b"null", 32, {"at": "", "len": 32, "dtype": "<f8", "shape": [2, 2]})
    kind = type("Grid", (np.ndarray,), {"__module__": "app"})
    _, [(entry, _)] = encoder.encode(np.ones(2, ">f4").view(kind))
    assert (entry["dtype"], entry["shape"]) == (">f4", [2])
    assert encoder.encode(np.ma.array([1, 2, 3], mask=[0, 1, 0])) == (b"[1,null,3]", [])


def test_an_array_is_sent_as_it_was_when_it_was_returned(numpy_host):
    for expected in (1, 2, 3):
        _, found = call(numpy_host, "count", None, ("/x", b"\1", {}))
        assert found[""] == (struct.pack("<3i", *[expected] * 3), "<i4", [3], None)


@pytest.mark.parametrize("define", ["def", "async def"])
def test_a_later_call_changes_no_result_that_waits_in_the_socket(tmp_path, define):
    """The first result is larger than the socket's buffer, and nobody reads it until the second call has begun."""
    text = f"""
    @app.command
    {define} fill():
        calls.append(1)
        data[:] = bytes([len(calls)]) * len(data)
        return data
    data, calls = bytearray(4_000_000), []
    """
    with FakeHost(write_app(tmp_path, text), concurrency=2) as host:
        host.ready()
        payload = section(frames.PREFIX_SIZE + 4, {}, [], True)
        for _ in range(2):
            host.calls.sendall(host.pack_call("fill", payload, flags=frames.BUFFERS)[1])
        host.ping()  # the worker has read both, or waits until the first is written
        for expected in (1, 2):
            _, flags, wire_id, body = host.frame(frames.RESULT)
            assert (flags, wire_id) == (frames.BUFFERS, expected)
            assert body[-4_000_000:] == bytes([expected]) * 4_000_000


def test_the_client_passes_arrays():
    np = pytest.importorskip("numpy")
    app = herder.App()

    @app.command
    def double(x: np.ndarray):
        return 2 * x

    found = np.asarray(Client(app, take_buffers=True).call("double", x=np.ones((2, 2), "f4")))
    assert found.dtype == np.float32 and found.tolist() == [[2, 2], [2, 2]]
    assert Client(app).call("double", x=np.ones(1, "f2")) == [2]

    def named(x: bytes = b"", **arrays):
        return [len(x), {name: array.tolist() for name, array in arrays.items()}]

    named.__annotations__["arrays"] = np.ndarray
    app.command(named)
    assert Client(app).call("named", x=b"ab", y=np.ones((2, 1), ">f4")) == [2, {"y": [[1], [1]]}]


@pytest.fixture
def tensors(monkeypatch):
    """A library as torch: its arrays have no buffer protocol, but are exchanged by DLPack."""
    np = pytest.importorskip("numpy")

    class Tensor:
        def __init__(self, array, device=1):
            self.array, self.device = array, device

        def __dlpack__(self, **options):
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.device, 0

        def tolist(self):
            return self.array.tolist()

    Tensor.__module__ = "tiny.core"
    library = types.ModuleType("tiny")
    library.Tensor, library.from_dlpack = Tensor, lambda array: Tensor(np.from_dlpack(array))
    monkeypatch.setitem(sys.modules, "tiny", library)
    return library


def test_tensors_are_exchanged_by_dlpack(tensors):
    np = pytest.importorskip("numpy")
    app = herder.App()

    def double(x):
        x.array *= 2  # it is the handler's own copy
        return {"out": x, "device": None}

    double.__annotations__["x"] = tensors.Tensor
    app.command(double)
    taking = Client(app, take_buffers=True)
    for given in (np.ones((2, 2), "<f4"), tensors.Tensor(np.ones((2, 2), "<f4"))):
        found = taking.call("double", x=given)["out"]
        assert (found.format, found.shape, found.tolist()) == ("f", (2, 2), [[2, 2], [2, 2]])
    assert Client(app).call("double", x=[[1, 2]]) == {"out": [[2, 4]], "device": None}
    with pytest.raises(CallError, match="Input should be a buffer, or a list of numbers"):
        taking.call("double", x="text")
    with pytest.raises(CallError, match="Input should be an array that tiny can take") as refused:
        taking.call("double", x=np.ones(2, ">f4"))
    assert refused.value.kind == "bad_arguments"


def test_tensors_that_cannot_be_sent_are_refused(tensors):
    np = pytest.importorskip("numpy")
    encoder = buffers.ResultEncoder({}, True)
    for value, reason in [
        (tensors.Tensor(np.ones(1), device=2), "Tensor is in the memory of a device; copy it to the CPU"),
        (tensors.Tensor(np.array(["2026"], "M8[D]")), "cannot be exported by DLPack"),
    ]:
        with pytest.raises(herder.errors.CallRejection, match=reason):
            encoder.encode([value])
    del tensors.from_dlpack
    app = herder.App()

    def handler(x):
        return x

    handler.__annotations__["x"] = tensors.Tensor
    app.command(handler)
    with pytest.raises(TypeError, match="tiny has no `from_dlpack`"):
        Client(app)


def test_tables_of_arrow_travel_as_streams():
    pa = pytest.importorskip("pyarrow")
    app = herder.App()

    def doubled(table):
        total = pa.compute.multiply(table["n"], 2)
        return table.set_column(table.schema.get_field_index("n"), "n", total)

    def batch(batch):
        return {"rows": batch, "count": batch.num_rows}

    doubled.__annotations__["table"], batch.__annotations__["batch"] = pa.Table, pa.RecordBatch
    app.command(doubled)
    app.command(batch)
    rows = [{"n": 1, "name": "a"}, {"n": 2, "name": None}]
    table, taking = pa.Table.from_pylist(rows), Client(app, take_buffers=True)
    found = taking.call("doubled", table=table)
    assert pa.ipc.open_stream(found).read_all().to_pylist() == [{"n": 2, "name": "a"}, {"n": 4, "name": None}]
    [(entry, _)] = buffers.ResultEncoder({}, True).encode(table)[1]
    assert entry["type"] == "application/vnd.apache.arrow.stream"
    found = taking.call("batch", batch=pa.concat_tables([table, table]))
    assert found["count"] == 4 and pa.ipc.open_stream(found["rows"]).read_all().num_rows == 4
    assert taking.call("batch", batch=table.slice(0, 0))["count"] == 0
    plain = Client(app)
    assert plain.call("doubled", table=rows) == [{"n": 2, "name": "a"}, {"n": 4, "name": None}]
    assert plain.call("batch", batch=rows) == {"rows": rows, "count": 2}
    same = pa.table([[1], [2]], names=["n", "n"])
    with pytest.raises(herder.errors.CallRejection, match="two columns of one name"):
        herder.App()._encode()(same)
    for value in (b"no stream", buffers.bytes_of(table)[1][:50], "text", [1]):
        with pytest.raises(CallError, match=r"(table|stream) of Arrow"):
            plain.call("doubled", table=value)


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
@pytest.mark.parametrize("as_dictionary", [False, True])
def test_a_compressed_stream_of_arrow_is_bounded(compression, as_dictionary, monkeypatch):
    """The size without compression counts, in batches and in dictionaries. Arrow would allocate any size."""
    pa = pytest.importorskip("pyarrow")
    app = herder.App()

    def rows(table):
        return table.num_rows

    rows.__annotations__["table"] = pa.Table
    app.command(rows)

    def stream(count, **options):
        sink = pa.BufferOutputStream()
        texts = pa.array(["x" * 1000 + str(n) for n in range(count)])
        table = pa.table({"n": pa.array(range(count)), "s": texts.dictionary_encode() if as_dictionary else texts})
        with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
            writer.write_table(table, max_chunksize=100)
        return sink.getvalue().to_pybytes()

    limit = 200_000
    monkeypatch.setattr(herder.call.calls, "max_frame", limit)
    client, compressed = Client(app), {"compression": compression}
    assert client.call("rows", table=stream(150, **compressed)) == 150
    large = stream(1000, **compressed)
    assert len(large) < limit
    with pytest.raises(CallError, match=r"without compression; the limit is 200000 bytes \(`max_frame`\)"):
        client.call("rows", table=large)
    assert client.call("rows", table=stream(1000)) == 1000, "it has its size already"
    for at in range(0, len(large), 61):  # invalid metadata is refused, or has another meaning for Arrow as well
        with contextlib.suppress(CallError):
            client.call("rows", table=large[:at] + b"\xff\xff" + large[at + 2 :])


def test_a_stream_of_arrow_with_invalid_texts_is_refused():
    """The handler would read beyond them, and crash."""
    pa = pytest.importorskip("pyarrow")
    app = herder.App()

    def names(table):
        return table["name"].to_pylist()

    names.__annotations__["table"] = pa.Table
    app.command(names)
    data = bytearray(buffers.bytes_of(pa.table({"name": ["abcdefgh"]}))[1])
    offsets = struct.pack("<ii", 0, 8)  # of the texts, and by chance also among the lengths of the stream
    for at in (data.index(offsets), data.rindex(offsets)):
        changed = data[: at + 4] + struct.pack("<i", 1 << 30) + data[at + 8 :]
        with pytest.raises(CallError, match="table of Arrow"):
            Client(app).call("names", table=bytes(changed))
