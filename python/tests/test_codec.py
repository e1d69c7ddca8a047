"""The JSON codec in this process: its prebuilt encoder keeps nothing of a value that failed."""

import pytest

from herder.codec import decode, encode
from herder.errors import Refusal


def test_a_failure_leaves_no_trace():
    value = [{1}]
    with pytest.raises(Refusal, match="set"):
        encode(value)
    value[0] = 1
    assert encode(value) == b"[1]"


@pytest.mark.parametrize("text", [b"1", b' [1, "\xc3\xa4"]\n', b'{"a":null}', b"1e3", b'"\\u2615"'])
def test_there_and_back(text):
    value = decode(text)
    assert decode(memoryview(encode(value))) == value


@pytest.mark.parametrize("text", [b"", b" ", b"[1", b"[1] 2", b"NaN", b"-Infinity", b"'a'", b"\xff", b"9" * 5000])
def test_malformed(text):
    with pytest.raises(Refusal) as refused:
        decode(text)
    assert refused.value.kind == "malformed"


@pytest.mark.parametrize(
    "value,text",
    [
        ({1: "a", 1.5: "b", False: "c", None: "d"}, b'{"1":"a","1.5":"b","false":"c","null":"d"}'),
        ([2**70, -(2**70)], b"[1180591620717411303424,-1180591620717411303424]"),
        ((1, "\u2615"), '[1,"\u2615"]'.encode()),
    ],
)
def test_what_json_can_hold(value, text):
    assert encode(value) == text


@pytest.mark.parametrize(
    "value,reason",
    [
        (float("nan"), "Out of range"),
        ([float("inf")], "Out of range"),
        ({float("nan"): 1}, "Out of range"),
        ({(1, 2): 1}, "keys must be"),
        (b"x", "type bytes has no JSON form"),
        ("\ud800", "surrogate"),
    ],
)
def test_what_json_can_not_hold(value, reason):
    with pytest.raises(Refusal, match=reason) as refused:
        encode({"value": value})
    assert refused.value.kind == "unencodable"
