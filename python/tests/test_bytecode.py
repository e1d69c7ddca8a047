"""The host's copy of the package: its bytecode is written once, and nothing is imported from it after `on_start`."""

import os
import shutil

import pytest

from host import SOURCE, FakeHost

APP = """
import os, sys, herder
app = herder.App()

@app.on_start
def load():
    {hook}
    app.state.before = set(sys.modules)

@app.command
def new(): return sorted(set(sys.modules) - app.state.before)
@app.command
def fail(): raise ValueError("no")
@app.command
def unencodable(): return {{"items": [object()]}}
@app.command
def variable():
    names = ["PYTHONDONTWRITEBYTECODE", "HERDER_BYTECODE"]
    return [*map(os.environ.get, names), sys.dont_write_bytecode]
@app.command
{extra}

@app.on_session_end
def end(session, reason): raise KeyError(reason)
"""
SYNC = "def extra(): return 1"
ASYNC = "async def extra(): return 1"


@pytest.fixture
def copy(tmp_path):
    """The package as the host writes it, in a folder that only its owner can read."""
    tmp_path.chmod(0o755)  # the folder of pytest is private, but the application must be readable
    folder = tmp_path / "cache" / "python"
    shutil.copytree(SOURCE / "herder", folder / "herder", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "cache").chmod(0o700)
    return folder


def run(copy, before="", *, hook="pass", extra=SYNC, arguments=()):
    app = copy.parent.parent / "app.py"
    app.write_text(APP.format(hook=hook, extra=extra))
    env = {
        "PYTHONPATH": str(copy),
        "PYTHONPYCACHEPREFIX": "",  # the environment of the tests may have one
        "HERDER_BYTECODE": before,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return FakeHost(f"{app}:app", env=env, arguments=arguments)


def files(copy):
    cache = copy / "herder" / "__pycache__"
    return {name: (cache / name).read_bytes() for name in os.listdir(cache)}


@pytest.mark.parametrize("arguments", [(), ("-O",)])
def test_the_first_worker_writes_bytecode_and_its_record(copy, arguments):
    with run(copy, "1", arguments=arguments) as host:
        host.ready()
    written = files(copy)
    (record,) = (name for name in written if name.endswith(".record"))
    tag = record.removesuffix(".record")
    modules = sorted(path.name.removesuffix(".py") for path in (copy / "herder").glob("*.py"))
    assert sorted(written) == sorted([record, *(f"{module}.{tag}.pyc" for module in modules)])
    codes = [written[f"{module}.{tag}.pyc"] for module in modules]
    assert written[record] == b"".join(len(code).to_bytes(8, "little") + code for code in codes)
    assert os.listdir(copy.parent) == ["python"], "the draft folder is removed"
    with run(copy, "1", arguments=arguments) as host:
        host.ready()
    assert files(copy) == written, "the next worker uses the files"


def test_missing_bytecode_is_written_again(copy):
    with run(copy) as host:
        host.ready()
    lost = next((copy / "herder" / "__pycache__").glob("worker.*.pyc"))
    lost.unlink()
    with run(copy) as host:
        host.ready()
    assert lost.exists()


@pytest.mark.parametrize("before", ["", "x"])
def test_the_application_gets_the_environment_variable_of_the_user(copy, before):
    with run(copy, before) as host:
        host.ready()
        assert host.call("variable").result == [before or None, None, bool(before)]


@pytest.mark.parametrize("extra", [SYNC, ASYNC])
def test_no_module_is_imported_after_on_start(copy, extra):
    """For a result, a traceback, a result without a JSON form, and a hook that raises."""
    with run(copy, extra=extra, arguments=["-S"]) as host:  # without orjson, which is imported when the worker is ready
        host.ready()
        assert host.call("fail").error["type"] == "ValueError"
        assert host.call("unencodable").error_kind == "unencodable"
        assert host.call("extra", session="ann").result == 1
        host.end_session("ann")
        assert host.call("new").result == []


@pytest.mark.parametrize("extra", [SYNC, ASYNC])
def test_a_hook_may_drop_the_rights_to_read_the_package(copy, extra):
    if os.geteuid() != 0:
        pytest.skip("NOTHING WAS PROVED: only root can drop rights")
    hook = "os.setgid(65534); os.setuid(65534)"
    with run(copy, hook=hook, extra=extra) as host:
        host.ready()
        assert host.call("fail").error["type"] == "ValueError"
        assert host.call("extra").result == 1
        assert host.call("new").result == []


def test_a_worker_starts_without_write_access_to_the_package(copy, tmp_path):
    (tmp_path / "cache" / "python" / "herder" / "__pycache__").write_text("in the way")
    with run(copy) as host:
        host.ready()
        assert host.call("extra").result == 1
