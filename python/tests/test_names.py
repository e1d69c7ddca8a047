"""How an app is found, and what happens if its files have the names of other modules (R64)."""

import ast
import os
import subprocess
import sys

import pytest

from host import SOURCE, FakeHost

APP = """
import herder
app = herder.App()

@app.command
def tea(): return 450

@app.command
def bug(): raise ValueError("spilt")
"""
ASYNC = "\n@app.command\nasync def later(): return 1\n"
LATE = "\n@app.command\ndef late():\n    import random, logging\n    return [random.LIMIT, logging.LIMIT]\n"
NAMES = [
    "types",
    "signal",
    "json",
    "select",
    "struct",
    "traceback",
    "linecache",
    "contextvars",
    "faulthandler",
    "queue",
    "random",
    "logging",
    "platform",
    "code",
    "runpy",
    "pkgutil",
    "functools",
    "inspect",
    "ast",
    "tokenize",
    "token",
    "asyncio",
    "socket",
    "selectors",
    "heapq",
    "decimal",
    "fcntl",
    "py_compile",
]


@pytest.fixture
def folder(tmp_path):
    """A function that writes the files of an application and starts a worker in their folder."""
    hosts = []

    def start(target, files, **options):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        hosts.append(FakeHost(target, cwd=tmp_path, **options))
        return hosts[-1]

    yield start
    for host in hosts:
        host.__exit__()


def assert_serves(host):
    host.ready()
    assert host.call("tea").result == 450
    error = host.call("bug").error
    assert error["type"] == "ValueError" and error["traceback"].endswith("ValueError: spilt\n")
    assert 'raise ValueError("spilt")' in error["traceback"], "with its source line"


@pytest.mark.parametrize("kind", [APP, APP + ASYNC], ids=["sync", "async"])
@pytest.mark.parametrize("target", ["app.py:app", "app:app"])
def test_files_with_the_names_of_library_modules_break_no_worker(folder, target, kind):
    """R64: no import of Herder, early or late, direct or indirect, finds a file of the application."""
    files = {f"{name}.py": "raise SystemExit('the application does not import this')\n" for name in NAMES}
    assert_serves(folder(target, {**files, "app.py": kind}))


def test_the_application_finds_its_own_files_as_in_a_script(folder):
    """Modules that Herder has not imported come from the application's folder, which is first on the path."""
    files = {"random.py": "LIMIT = 3\n", "logging.py": "LIMIT = 4\n", "app.py": APP + LATE}
    host = folder("app.py:app", files)
    assert_serves(host)
    assert host.call("late").result == [3, 4]


@pytest.mark.parametrize("name", ["traceback", "textwrap", "codeop", "contextlib"])
def test_a_traceback_is_sent_whatever_the_application_imported(folder, name):
    """Even if it is the application's `traceback`, or a module that the library's `traceback` needs."""
    app = f"import sys\nsys.modules.pop({name!r}, None)\nimport {name}\nassert {name}.LIMIT\n{APP}"
    host = folder("app.py:app", {f"{name}.py": "LIMIT = 3\n", "app.py": app}).ready()
    traceback = host.call("bug").error["traceback"]
    assert traceback.startswith("Traceback (most recent call last)") and traceback.endswith("ValueError: spilt\n")
    assert "in bug" in traceback and "loop.py" not in traceback


def test_a_traceback_is_sent_if_linecache_is_broken(folder):
    app = "import sys, linecache\n" + APP + "\n@app.command\ndef spoil(): del linecache.checkcache, linecache.getline\n"
    host = folder("app.py:app", {"app.py": app}).ready()
    host.call("spoil")
    traceback = host.call("bug").error["traceback"]
    assert "app.py" in traceback and "in bug" in traceback and traceback.endswith("ValueError: spilt\n")


def test_a_file_that_shadows_a_module_of_asyncio_is_named(folder):
    """The application breaks asyncio, as it would in a script; the error names the file."""
    app = "import logging\n" + APP + ASYNC
    error = folder("app.py:app", {"logging.py": "LIMIT = 3\n", "app.py": app}).start_error()
    assert "logging.py, which shadows the standard library module" in error["message"]


@pytest.mark.parametrize("name", ["calendar", "json", "traceback", "secrets", "herder", "test", "asyncio"])
def test_an_app_may_have_the_name_of_a_library_module(folder, name):
    """Every other import still finds the library's module of that name."""
    use = "\n@app.command\ndef mail():\n    import email.utils\n    return email.utils.formatdate(0)[:3]\n"
    host = folder(f"{name}.py:app", {f"{name}.py": APP + use})
    assert_serves(host)
    assert host.call("mail").result == "Thu"


@pytest.mark.parametrize("name", ["calendar", "json", "herder"])
@pytest.mark.parametrize(
    "use", ["from {} import app, LIMIT\n@app.command\ndef more(): pass\n", "import {}\n{}.LIMIT\n"]
)
def test_a_helper_that_imports_such_an_app_gets_a_hint(folder, name, use):
    files = {f"{name}.py": f"LIMIT = 3\n{APP}import views\n", "views.py": use.replace("{}", name)}
    error = folder(f"{name}.py:app", files).start_error()
    assert error["type"] in ("ImportError", "AttributeError")
    assert f"`{name}` is" in error["message"] and f"{name}.py has the same name" in error["message"]


def test_a_symbolic_link_finds_the_neighbours_of_its_target(folder, tmp_path):
    """As with `python3 link.py`, where `__file__` is the link too."""
    (tmp_path / "current").mkdir()
    (tmp_path / "current" / "app.py").symlink_to("../releases/7/main.py")
    files = {
        "releases/7/main.py": "import prices, here\n" + APP + "\n@app.command\ndef file(): return __file__\n",
        "releases/7/prices.py": "import main\n",
        "here.py": "",  # in the current folder, which is on the path too
    }
    host = folder("current/app.py:app", files)
    assert_serves(host)
    assert host.call("file").result == str(tmp_path / "current" / "app.py")


def test_a_file_in_a_package_is_imported_by_its_name_in_the_package(folder):
    """It is imported once, however its siblings import it; `types.py` in the package shadows nothing."""
    files = {
        "shop/__init__.py": "",
        "shop/back/__init__.py": "",
        "shop/back/app.py": APP + "from shop.back import more\nfrom . import types\nimport plain\n",
        "shop/back/more.py": "from shop.back.app import app\n@app.command\ndef more(): return 1\n",
        "shop/back/types.py": "",
        "shop/back/plain.py": "import types\nassert types.ModuleType\n",
    }
    host = folder("shop/back/app.py:app", files)
    assert_serves(host)
    assert host.call("more").result == 1


def test_the_init_file_of_a_package_can_be_the_app(folder):
    files = {"shop/__init__.py": APP + "from . import more\n", "shop/more.py": "from shop import app\n"}
    assert_serves(folder("shop/__init__.py:app", files))


def test_a_folder_whose_name_is_no_identifier_is_not_a_package(folder):
    files = {"my-shop/__init__.py": "", "my-shop/app.py": "import plain\n" + APP, "my-shop/plain.py": ""}
    assert_serves(folder("my-shop/app.py:app", files))


def test_a_package_whose_name_another_package_has_is_refused(folder, tmp_path):
    files = {"a/shop/__init__.py": "", "a/shop/app.py": APP, "b/shop/__init__.py": "", "b/shop/app.py": APP}
    path = f"{SOURCE}:{tmp_path}/b:{tmp_path}/a"
    command = [sys.executable, f"{SOURCE}/herder/__main__.py", "a/shop/app.py:app"]
    message = folder("", files, command=command, env={"PYTHONPATH": path}).start_error()["message"]
    assert f"{tmp_path}/b/shop/app.py, not {tmp_path}/a/shop/app.py" in message


@pytest.mark.parametrize(
    "target,files",
    [
        ("shop/app.py:app", {"shop/app.py": APP + "import shop.more\n", "shop/more.py": "from shop.app import app\n"}),
        (
            "shop.app:app",
            {"shop/app.py": APP + "import sys\nsys.path.append('shop')\nimport more\n", "shop/more.py": "import app\n"},
        ),
    ],
)
def test_one_module_under_two_names_is_refused(folder, target, files):
    message = folder(target, files).start_error()["message"]
    assert "shop/app.py was imported twice" in message and "shop.app" in message


def test_an_app_without_commands_is_refused(folder):
    """Hooks alone are not enough: the worker could answer no call."""
    app = "import herder\napp = herder.App()\n@app.on_start\ndef start(): print('began')\n"
    host = folder("app.py:app", {"app.py": app})
    assert "has no commands: import the module" in host.start_error()["message"]
    assert host.wait_for_exit()[1] == ""


def test_a_relative_import_in_a_file_gets_a_hint(folder):
    files = {"shop/app.py": "from . import prices\n" + APP, "shop/prices.py": ""}
    message = folder("shop/app.py:app", files).start_error()["message"]
    assert "`shop.app:app`" in message and "attempted relative import" in message


def test_sys_argv_is_the_app(folder):
    parse = "import argparse\nGIVEN = argparse.ArgumentParser().parse_args()\n"
    app = parse + APP + "\n@app.command\ndef argv():\n    import sys\n    return sys.argv\n"
    host = folder("app.py:app", {"app.py": app}).ready()
    assert host.call("argv").result == ["app.py:app"]


def test_a_failed_start_names_the_interpreter(folder, tmp_path):
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to("/gone/python3.9")
    env = {"VIRTUAL_ENV": "/gone"}
    message = folder("app.py:app", {"app.py": "import no_such_thing\n"}, env=env).start_error()["message"]
    code = "import platform, sys; print(platform.python_version(), sys.prefix, sys.prefix == sys.base_prefix)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    version, prefix, no_venv = output.split()
    assert f"(Python {version}, {sys.executable}, " in message
    if no_venv == "True":
        assert "no virtual environment; VIRTUAL_ENV is /gone, which has no bin/python" in message
        assert ".venv/bin/python is a link to /gone/python3.9, which does not exist" in message
    else:
        assert f"virtual environment {prefix}" in message


def test_an_old_python_names_the_required_version(tmp_path):
    """The code up to the version check compiles on 3.6, and the check comes first."""
    old = "import sys, runpy\nsys.version_info = (3, 9, 18)\nsys.argv[:] = sys.argv[1:]\n"
    old += "del sys.stdlib_module_names, sys.orig_argv\nrunpy.run_path(sys.argv[0], run_name='__main__')\n"
    script = f"{SOURCE}/herder/__main__.py"
    done = subprocess.run([sys.executable, "-c", old, script, "app.py:app"], capture_output=True, text=True)
    message = f"Python 3.10 or later is required, but {sys.executable} is version 3.9.18\n"
    assert done.stderr == message and done.returncode == 1

    begin = (SOURCE / "herder" / "__init__.py").read_text().partition("\nif sys.argv")[0]
    for text in (begin, (SOURCE / "herder" / "__main__.py").read_text()):
        ast.parse(text, feature_version=(3, 6))


def test_a_worker_can_be_started_with_m(folder, tmp_path):
    """`python -m herder` by hand, in a folder with such files. Herder cannot prevent what Python imports before it."""
    files = {f"{name}.py": "raise SystemExit('no')\n" for name in NAMES if name not in ("types", "runpy", "pkgutil")}
    for name in (
        "functools",
        "inspect",
        "ast",
        "tokenize",
        "token",
        "linecache",
    ):  # `runpy` imports these in some versions
        files.pop(f"{name}.py", None)
    command = [sys.executable, "-m", "herder", "app.py:app"]
    assert_serves(folder("", {**files, "app.py": APP}, command=command))


def test_processes_that_multiprocessing_spawns_do_not_run_herder(folder):
    app = APP + (
        "import multiprocessing\n@app.command\ndef spawn():\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n        return pool.apply(abs, [-3])\n"
    )
    assert folder("app.py:app", {"app.py": app}).ready().call("spawn").result == 3


def test_the_folder_of_the_package_is_not_on_the_path(folder):
    """`import loop` finds no file of Herder, so no module is imported under two names."""
    app = APP + "\n@app.command\ndef path():\n    import sys\n    return sys.path\n"
    host = folder("app.py:app", {"app.py": app}).ready()
    path = host.call("path").result
    assert os.path.join(SOURCE, "herder") not in path and path.count(str(SOURCE)) == 1
