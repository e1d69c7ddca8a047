"""R36, R38: whatever an error or result does while it is encoded, its caller gets one error and the worker runs on."""

import json
import sys
from http import HTTPStatus

import pytest

from herder import error_frames, frames
from herder.errors import CallRejection, Interrupted, Rejected

APP = """
class Text(str):
    def encode(self, *_): raise SystemExit("encode")
    def __getitem__(self, _): raise SystemExit("getitem")
    def __len__(self): raise SystemExit("len")
    def __format__(self, _): raise SystemExit("format")
    def __str__(self): raise SystemExit("str")

class Unprintable:
    def __str__(self): raise SystemExit("unprintable")
    __repr__ = __str__

class WithStr(Exception):
    def __str__(self):
        value = self.args[0]
        if isinstance(value, BaseException): raise value
        return value

class Subclass(herder.Rejected):
    def __init__(self): pass

class PropertyCode(herder.Rejected):
    def __init__(self): pass
    code = property(lambda self: 1 / 0)

class Nameless(type):
    def __getattribute__(cls, name): raise ZeroDivisionError(name)

class Named(type):
    __name__ = property(lambda self: Text("Forged"))

class NamelessError(Exception, metaclass=Nameless):
    pass

class NamedError(Exception, metaclass=Named):
    pass

class Classless(Exception):
    __class__ = property(lambda self: 1 / 0)

class Traceless(Exception):
    __traceback__ = __cause__ = __context__ = __notes__ = property(lambda self: 1 / 0)

class Nested:
    def __init__(self, inner): self.inner = inner
    def __repr__(self): return f"Nested({self.inner!r})"

def nested(levels):
    value = None
    for _ in range(levels):
        value = Nested(value)
    return value

def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value

ERRORS = {
    "subclass": lambda: Subclass(),
    "property code": lambda: PropertyCode(),
    "unprintable code": lambda: herder.Rejected("no", Unprintable()),
    "hostile code": lambda: herder.Rejected("no", Text("hostile")),
    "huge code": lambda: herder.Rejected("no", "x" * 5_000_000),
    "hostile message": lambda: herder.Rejected(Text("hostile")),
    "half code": lambda: herder.Rejected("half \\ud800", "half \\ud800"),
    "str None": lambda: WithStr(None),
    "str subclass": lambda: WithStr(Text("hostile")),
    "str exit": lambda: WithStr(SystemExit()),
    "str interrupted": lambda: WithStr(herder.Interrupted()),
    "str memory": lambda: WithStr(MemoryError()),
    "str recursion": lambda: WithStr(RecursionError()),
    "str huge": lambda: WithStr("x" * 50_000_000),
    "nameless": lambda: NamelessError("nameless"),
    "named": lambda: NamedError("named"),
    "classless": lambda: Classless("classless"),
    "traceless": lambda: Traceless("traceless"),
    "deep": lambda: ValueError(deep(200_000)),
    "nested": lambda: ValueError(nested(200_000)),
    "huge type": lambda: type("T" * 5_000_000, (Exception,), {})("huge"),
    "hostile type": lambda: type(Text("Hostile"), (Exception,), {})("hostile"),
    "half": lambda: ValueError("half \\ud800"),
}

class Items(dict):
    def items(self):
        what = self["what"]
        if what == "raises": raise ZeroDivisionError("while encoding")
        if what == "unprintable": raise WithStr(SystemExit())
        if what == "exits": sys.exit(3)
        if what == "interrupted": raise herder.Interrupted
        if what == "memory": raise MemoryError
        if what == "grows":
            for n, _ in enumerate(self):
                self[n] = n
                yield n, n
        if what == "clears": holder.clear(); yield "a", 1
        if what == "itself": yield "holder", holder
        if what == "text": yield Text("key"), Text("value")

holder = []

RESULTS = {
    "nameless": lambda: NamelessError(),
    "deep list": lambda: deep(200_000),
    "deep dict": lambda: deep_dict(200_000),
}

def deep_dict(levels):
    value = {}
    for _ in range(levels):
        value = {"a": value}
    return value

def fails(how: str): raise ERRORS[how]()

def returns(what: str):
    if what in RESULTS: return RESULTS[what]()
    holder[:] = [Items(what=what), 1, 2]
    return holder

def limit(levels: int): sys.setrecursionlimit(levels)

def takes(x: object = None): return 1

def gives(x: object): return x

def recurses(n: int = 0): return recurses(n + 1) + 1

def hog(used: int):
    import resource
    with open("/proc/self/statm") as statm:
        now = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + used, resource.RLIM_INFINITY))

def big(): return "x" * (40 << 20)

def ok(): return "ok"
"""
COMMANDS = ("fails", "returns", "limit", "takes", "gives", "recurses", "hog", "big", "ok")
SYNC = APP + "".join(f"app.command({name})\n" for name in COMMANDS)
ASYNC = APP + "".join(
    f"""
@app.command(name="{name}")
async def async_{name}(**arguments): return {name}(**arguments)
"""
    for name in COMMANDS
)
ERRORS = [line.split('"')[1] for line in APP.partition("ERRORS = {")[2].partition("\n}")[0].splitlines()[1:]]


@pytest.fixture(params=[SYNC, ASYNC], ids=["sync", "async"])
def any_worker(request, start):
    """A function that starts a worker, with sync and with async handlers."""
    return lambda **hello: start(request.param, **hello)


def test_every_error_is_sent_in_one_frame(any_worker):
    host = any_worker(max_frame=1 << 20)
    for how in ERRORS:
        answer = host.call("fails", how=how)
        rejected = "code" in how or how in ("subclass", "hostile message")
        assert answer.error_kind == ("rejected" if rejected else "exception"), (how, answer.error)
        assert len(answer.payload) < 100_000, how
        assert all(type(each) is str for each in answer.error.values())
        answer.payload.decode()
        assert rejected or "huge" in how or "in fails" in answer.error["traceback"], (how, answer.error)
        assert 0 < answer.started <= answer.ended
    assert host.call("ok").result == "ok"


@pytest.mark.parametrize(
    "how,fields",
    [
        ("unprintable code", {"message": "no", "code": "<unprintable Unprintable object>"}),
        ("hostile code", {"message": "no", "code": "<unprintable Text object>"}),
        ("half code", {"message": r"half \ud800", "code": r"half \ud800"}),
        ("property code", {"message": ""}),
        ("subclass", {"message": ""}),
        ("str interrupted", {"message": "<unprintable WithStr object>", "type": "WithStr"}),
        ("str subclass", {"message": "hostile"}),
        ("nameless", {"message": "nameless", "type": "NamelessError"}),
        ("named", {"message": "named", "type": "NamedError"}),
        ("hostile type", {"message": "hostile", "type": "Hostile"}),
        ("classless", {"message": "classless", "type": "Classless"}),
        ("half", {"message": r"half \ud800"}),
    ],
)
def test_each_error_has_its_fields(any_worker, how, fields):
    error = any_worker().call("fails", how=how).error
    assert {name: error.get(name) for name in fields} == fields
    assert ("code" in error) == ("code" in fields)


@pytest.mark.parametrize(
    "what,message",
    [
        ("raises", "while encoding"),
        ("unprintable", "unprintable WithStr object"),
        ("exits", "3"),
        ("interrupted", "Interrupted"),
        ("memory", "memory"),
        ("grows", "changed size"),
        ("itself", "ircular"),
        ("nameless", "cannot be encoded as JSON"),
        ("deep list", "nested too deep"),
        ("deep dict", "nested too deep"),
    ],
)
def test_a_result_without_a_json_form_is_unencodable(any_worker, what, message):
    host = any_worker()
    answer = host.call("returns", what=what)
    assert answer.error_kind == "unencodable" and message in answer.error["message"]
    assert host.call("ok").result == "ok"


def test_a_result_that_changes_while_it_is_encoded(any_worker):
    host = any_worker()
    assert host.call("returns", what="clears").result == [{"a": 1}]
    assert host.call("returns", what="text").result == [{"key": "value"}, 1, 2]


def test_depth_is_bounded_whatever_the_recursion_limit(any_worker):
    """R36: with more levels, the interpreter would overflow its stack and die of SIGSEGV."""
    host = any_worker()
    host.call("limit", levels=1_000_000)
    for what in ("deep list", "deep dict"):
        assert host.call("returns", what=what).error_kind == "unencodable"
    for opening, closing in (b"[]", (b'{"a":', b"}")):
        opening, closing = (bytes([each]) if type(each) is int else each for each in (opening, closing))
        inner = opening * 200_000 + b"1" + closing * 200_000
        answer = host.call("takes", b'{"x":' + inner + b"}")
        assert answer.error_kind == "malformed" and "nested too deep" in answer.error["message"]
    for how in ("deep", "nested"):
        assert host.call("fails", how=how).error["type"] == "ValueError"
    assert host.call("ok").result == "ok"


@pytest.mark.parametrize("limit", [1000, 1_000_000])
def test_nine_hundred_levels_are_decoded_and_encoded(any_worker, limit):
    host = any_worker()
    host.call("limit", levels=limit)
    payload = b'{"x":' + b"[" * 900 + b'"' + b"x" * 1000 + b'"' + b"]" * 900 + b"}"
    assert host.call("gives", payload).payload == payload[5:-1]
    assert host.call("gives", payload.replace(b"x" * 1000, b"")).payload.startswith(b"[" * 900)
    if sys.version_info < (3, 12):
        payload = payload.replace(b"[", b"[[").replace(b"]", b"]]")
        assert "nested too deep" in host.call("gives", payload).error["message"]
        assert "nested too deep" in host.call("returns", what="deep list").error["message"]


def test_the_recursion_limit_of_the_application_is_restored(start):
    host = start(
        """
        @app.command
        def limit(levels: int): sys.setrecursionlimit(levels)
        @app.command
        def now(): return sys.getrecursionlimit()
        @app.command
        def fails(): raise ValueError
        @app.command
        def takes(x: list): return x
        """
    )
    host.call("limit", levels=50_000)
    assert host.call("fails").error_kind == "exception"
    assert host.call("takes", x=[0] * 5000).result == [0] * 5000
    assert host.call("now").result == 50_000


def test_the_end_of_a_long_traceback_is_sent(start):
    host = start(SYNC)
    host.call("limit", levels=20_000)
    error = host.call("recurses").error
    assert error["type"] == "RecursionError" and "in recurses" in error["traceback"]


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
def test_a_call_without_memory_to_decode_or_encode_fails(any_worker):
    host = any_worker()
    assert len(host.call("big").result) == 40 << 20
    host.call("hog", used=60 << 20)
    encoding = host.call("big")
    assert encoding.error_kind in ("unencodable", "exception") and "emory" in json.dumps(encoding.error)
    parsing = host.call("takes", b'{"x":[' + b"[]," * (1 << 20) + b"[]]}")
    assert parsing.error_kind == "exception" and parsing.error["type"] == "MemoryError"
    assert host.call("ok").result == "ok"


@pytest.mark.parametrize("how", ["str huge", "huge code", "huge type", "half code", "deep"])
def test_an_error_is_shortened_to_max_frame(any_worker, how):
    """R41: 1024 is the smallest `max_frame` that a host may set."""
    host = any_worker(max_frame=1024)
    answer = host.call("fails", how=how)
    assert len(answer.payload) + 16 <= 1024 and answer.error_kind in ("exception", "rejected")
    assert host.call("ok").result == "ok"


LOCALES = [
    {},
    {"LC_ALL": "C"},
    {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1:strict"},
    {"PYTHONIOENCODING": "utf-8:strict"},
]


@pytest.mark.parametrize("env", LOCALES, ids=["here", "C", "POSIX", "ascii", "latin-1", "strict"])
def test_any_text_can_be_printed(start, env):
    """R40: printing never raises, whatever the locale, and the log is UTF-8."""
    host = start(
        """
        @app.command
        def show(text: str):
            print(text)
            print(text, file=sys.stderr)
            sys.stderr.flush()
            return text
        """,
        env=env,
    )
    for text in ("\u017dofie \U0001f40e", "r\udce9sum\udce9.txt"):
        host.calls.sendall(host.pack_call("show", json.dumps({"text": text}).encode())[1])
        answer = host.answer()
        assert answer.kind == frames.RESULT or "surrogate" in answer.error["message"]  # such a result has no JSON form
        shown = text.encode("utf-8", "backslashreplace")
        assert host.process.stdout.readline() == shown + b"\n"
        assert host.process.stderr.readline() == shown + b"\n"


def test_a_failing_standard_error_fails_no_call(start):
    """R40: Herder logs a hook's exception, whatever the application has done with `sys.stderr`."""
    host = start(
        """
        class Bad:
            def write(self, text): raise SystemExit("no log")
            flush = write

        @app.command
        def spoil(how: str):
            if how == "none": sys.stderr = None
            if how == "bad": sys.stderr = sys.stdout = Bad()
            if how == "closed": sys.__stderr__.close(); sys.stderr = sys.__stderr__

        @app.command
        def show(): print("shown")

        @app.on_session_end
        def ended(session, reason): raise ValueError("\u017dofie")

        @app.command
        def ok(session: herder.Session): return "ok"
        """
    )
    for how in ("none", "bad", "closed"):
        assert host.call("spoil", how=how).result is None
        assert host.call("ok", session=how).result == "ok"
        host.end_session(how)
        assert host.call("ok", session="other").result == "ok"
    answer = host.call("show")
    assert (
        answer.error_kind == "exception" and answer.error["type"] == "SystemExit"
    )  # the stream and the error are the application's
    assert host.call("ok", session="other").result == "ok"


def test_a_start_error_is_shortened_to_max_frame(start):
    host = start("raise ValueError('\\u00e4' * 2000)", wait=False, max_frame=1024)
    host.frame(frames.HELLO)
    body = host.frame(frames.ERROR)[3]
    error = json.loads(body[frames.STAMPS_SIZE :])
    assert len(body) <= 1024 and error["kind"] == "start_failed" and error["message"].startswith("\u00e4\u00e4")


def payload(frame):
    """Decode the fields of an error frame."""
    return json.loads(frame[frames.HEADER_SIZE + frames.STAMPS_SIZE :])


@pytest.mark.parametrize("room", [1 << 20, 800, 400, 200, 120])
def test_the_traceback_is_shortened_first(room):
    message = "\u2615" * 60 + '"\n' * 30
    try:
        raise ValueError(message)
    except ValueError as error:
        frame = error_frames.exception_frame(7, error, 1, 2, room)
    fields = payload(frame)
    assert len(frame) - frames.HEADER_SIZE <= room
    assert fields["kind"] == "exception"
    assert fields["message"].startswith("\u2615" * 4)
    if room == 800:
        assert fields["traceback"].startswith("...\n") and fields["message"] == message
    if room <= 200:
        assert "traceback" not in fields and len(fields["message"]) < len(message)


def test_a_code_is_complete_or_absent():
    frame = error_frames.exception_frame(7, Rejected("no", "c" * 2000), 1, 2, 1024)
    assert payload(frame) == {"kind": "rejected", "message": "no"}


def test_data_and_status_of_a_rejection():
    rejected = Rejected("no", data={"left": 0, "é": [1.5, None]}, status=409)
    fields = {"kind": "rejected", "message": "no", "data": {"left": 0, "é": [1.5, None]}, "status": 409}
    assert payload(error_frames.exception_frame(7, rejected, 1, 2)) == fields
    del fields["data"]
    assert payload(error_frames.exception_frame(7, rejected, 1, 2, 80)) == fields, "it does not fit: none, not a part"
    # What the handler has changed since is checked again.
    rejected.data, rejected.status = object(), 500
    assert payload(error_frames.exception_frame(7, rejected, 1, 2)) == {"kind": "rejected", "message": "no"}
    rejected.data = nested = []
    nested.append(nested)
    assert payload(error_frames.exception_frame(7, rejected, 1, 2)) == {"kind": "rejected", "message": "no"}
    assert payload(error_frames.exception_frame(7, Rejected("no", status=HTTPStatus.GONE), 1, 2))["status"] == 410


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"status": 500}, ValueError, "status=500) is invalid; expected an integer from 400 to 499"),
        ({"status": 399}, ValueError, "status=399) is invalid"),
        ({"status": "409"}, ValueError, "status='409') is invalid"),
        ({"status": True}, ValueError, "status=True) is invalid"),
        ({"data": {1, 2}}, TypeError, "expected a JSON value: a value of type set cannot be encoded as JSON"),
        ({"data": float("nan")}, TypeError, "expected a JSON value"),
        ({"data": "x" * 65_535}, ValueError, "has 65537 bytes of JSON; the limit is 65536 bytes"),
    ],
)
def test_a_rejection_is_checked_where_it_is_raised(arguments, error, message):
    with pytest.raises(error) as refused:
        Rejected("no", **arguments)
    assert message in str(refused.value)


def test_an_exception_while_an_error_is_described_gives_the_fallback(monkeypatch):
    """An exception of any kind may be raised there, for example by a thread."""
    for failed in (MemoryError, RecursionError, Interrupted, KeyboardInterrupt):

        def describe(_error, failed=failed):
            raise failed

        monkeypatch.setattr(error_frames, "describe", describe)
        frame = error_frames.exception_frame(7, ValueError("x"), 1, 2, 1024)
        assert frames.HEADER.unpack_from(frame)[4] == 7
        assert payload(frame)["kind"] == "exception"


def test_a_rejection_is_described_with_exact_strings():
    class Odd(str):
        def __getitem__(self, _):
            raise ValueError

    fields = payload(error_frames.exception_frame(7, CallRejection(Odd("malformed"), Odd("odd")), 0, 0, 1024))
    assert fields == {"kind": "malformed", "message": "odd"}

    class WithoutFields(CallRejection):
        def __init__(self):
            pass

    assert payload(error_frames.exception_frame(7, WithoutFields(), 0, 0, 1024)) == {"kind": "exception", "message": ""}


ONE_ERROR = {"loc": ["order", "lines", 0, "price"], "msg": "Input should be a valid number", "type": "float_type"}


def test_a_rejection_carries_its_list_of_errors():
    """The handler has not run, so both stamps are 0."""
    frame = error_frames.exception_frame(7, CallRejection("bad_arguments", "m", errors=[ONE_ERROR]), 1, 2)
    assert payload(frame) == {"kind": "bad_arguments", "message": "m", "errors": [ONE_ERROR]}
    assert frames.STAMPS.unpack_from(frame, frames.HEADER_SIZE) == (0, 0)
    assert "errors" not in payload(error_frames.exception_frame(7, CallRejection("bad_arguments", "m"), 1, 2))


@pytest.mark.parametrize("room,kept", [(8192, 50), (4096, 25), (600, 3), (140, 0)])
def test_the_last_errors_are_dropped_first(room, kept):
    rejection = CallRejection("bad_arguments", "message", errors=[ONE_ERROR] * 50)
    frame = error_frames.exception_frame(7, rejection, 0, 0, room)
    fields = payload(frame)
    assert len(frame) - frames.HEADER_SIZE <= room
    assert fields["message"] == "message" and len(fields.get("errors", [])) == kept


def test_a_rejection_keeps_its_kind_when_text_is_disturbed(monkeypatch):
    """The host accepts only the kinds of the protocol. An exception during the description must not change the kind."""

    def disturbed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("herder.text.with_recursion_limit", disturbed)
    assert error_frames.describe(CallRejection("unencodable", "no form"))["kind"] == "unencodable"
