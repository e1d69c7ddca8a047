"""The JSON codec in this process: its prebuilt encoder keeps nothing of a value that failed."""

import pytest

from herder.codec import JSON, codecs
from herder.errors import Refusal


def test_a_failure_leaves_no_trace():
    value = [{1}]
    with pytest.raises(Refusal, match="set"):
        JSON.encode(value)
    value[0] = 1
    assert JSON.encode(value) == b"[1]"


@pytest.mark.parametrize("text", [b"1", b' [1, "\xc3\xa4"]\n', b'{"a":null}', b"1e3", b'"\\u2615"'])
def test_there_and_back(text):
    value = JSON.decode(text)
    assert JSON.decode(memoryview(JSON.encode(value))) == value


@pytest.mark.parametrize("text", [b"", b" ", b"[1", b"[1] 2", b"NaN", b"-Infinity", b"'a'", b"\xff", b"9" * 5000])
def test_malformed(text):
    with pytest.raises(Refusal) as refused:
        JSON.decode(text)
    assert refused.value.kind == "malformed"


def test_msgpack_keeps_nothing_of_a_failure():
    codec = codecs(["msgpack"])[2]
    if codec is None:
        pytest.skip("no msgpack library here")
    with pytest.raises(Refusal, match="object") as refused:
        codec.encode({"a": ["x" * 100, object()]})
    assert refused.value.kind == "unencodable"
    cycle: list[object] = []
    cycle.append(cycle)
    with pytest.raises(Refusal, match="nested too deep, or contains itself"):
        codec.encode(cycle)
    assert codec.decode(codec.encode({"a": 1})) == {"a": 1}
