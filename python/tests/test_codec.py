"""The JSON codec. If orjson is installed, the tests of arguments also run with the codec that uses it."""

import pytest

import herder
from herder import codec
from herder.codec import encode
from herder.errors import CallRejection


@pytest.fixture(params=dict.fromkeys([codec.decode, herder.App()._codec()[0]]), ids=lambda each: each.__module__)
def decode(request):
    return request.param


def test_a_failed_encoding_does_not_affect_the_next_one():
    value = [{1}]
    with pytest.raises(CallRejection, match="set"):
        encode(value)
    value[0] = 1
    assert encode(value) == b"[1]"


@pytest.mark.parametrize(
    "text", [b"1", b' [1, "\xc3\xa4"]\n', b'{"a":null}', b"1e3", b'"\\u2615"', b"[1e308, -1E+308, 1e-999]"]
)
def test_a_decoded_value_is_encoded_to_the_same_text(text, decode):
    value = decode(text)
    assert decode(memoryview(encode(value))) == value


@pytest.mark.parametrize("text", [b"", b" ", b"[1", b"[1] 2", b"NaN", b"-Infinity", b"'a'", b"\xff", b"9" * 5000])
def test_malformed_json_is_refused(text, decode):
    with pytest.raises(CallRejection) as refused:
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
def test_values_with_a_json_form_are_encoded(value, text):
    assert encode(value) == text


@pytest.mark.parametrize(
    "value,reason",
    [
        (float("nan"), "Out of range"),
        ([float("inf")], "Out of range"),
        ({float("nan"): 1}, "Out of range"),
        ({(1, 2): 1}, "keys must be"),
        (b"x", "type bytes cannot be encoded as JSON"),
        ("\ud800", "surrogate"),
    ],
)
def test_values_without_a_json_form_are_refused(value, reason):
    with pytest.raises(CallRejection, match=reason) as refused:
        encode({"value": value})
    assert refused.value.kind == "unencodable"


FLOATS = b"[" + b"0.123456789012345," * 200
PROSE = b'["' + b"The 7 brown foxes. " * 200 + b'",'
BEYOND = [b"1e999", b"-1E+309", b"1" + b"0" * 400 + b".5", b"1" + b"0" * 250 + b"e60", b"1" + b"0" * 500 + b"e-5"]


@pytest.mark.parametrize("before", [b"[", FLOATS, PROSE], ids=["short", "floats", "prose"])
@pytest.mark.parametrize("number", BEYOND, ids=range(len(BEYOND)))
def test_a_number_beyond_a_double_is_refused(before, number, decode):
    """R39: it would become infinity."""
    with pytest.raises(CallRejection, match="exceeds the range of a 64-bit float") as refused:
        decode(before + number + b"]")
    assert refused.value.kind == "malformed" and len(refused.value.message) < 200
    with pytest.raises(CallRejection, match="exceeds the range of a 64-bit float"):
        decode(b" " + before + number + b"]")


@pytest.mark.parametrize("before", [b"[", FLOATS, PROSE], ids=["short", "floats", "prose"])
def test_large_numbers_keep_their_value(before, decode):
    text = before + b"1.7976931348623157e308," + b"9" * 400 + b",1e-400]"
    assert decode(text)[-3:] == [1.7976931348623157e308, int("9" * 400), 0.0]
    assert decode(memoryview(text)) == decode(text)


@pytest.mark.parametrize("text", [b"{}", b" {}", b'{"a": ' + FLOATS + b"1]}"], ids=["empty", "space", "long"])
def test_a_byte_order_mark_is_skipped(text, decode):
    assert decode(b"\xef\xbb\xbf" + text) == decode(text)
    with pytest.raises(CallRejection):
        decode(b"\xef\xbb\xbf" * 2 + text)


def test_a_byte_order_mark_within_a_string_is_kept(decode):
    assert decode(b'{"a":"\xef\xbb\xbf"}') == {"a": "\ufeff"}
