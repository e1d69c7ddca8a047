"""How an app is found, and what happens where its files have the names of other modules (R64)."""

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
    """An application's folder, and a function that starts a worker in it."""
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
    """R64: none of Herder's imports, early or late, and none that those make, finds a file of the application."""
    files = {f"{name}.py": "raise SystemExit('the application does not import this')\n" for name in NAMES}
    assert_serves(folder(target, {**files, "app.py": kind}))


def test_the_application_finds_its_own_files_as_in_a_script(folder):
    """What Herder has not imported is the application's: its folder comes first."""
    files = {"random.py": "LIMIT = 3\n", "logging.py": "LIMIT = 4\n", "app.py": APP + LATE}
    host = folder("app.py:app", files)
    assert_serves(host)
    assert host.call("late").result == [3, 4]


@pytest.mark.parametrize("name", ["traceback", "textwrap", "codeop", "contextlib"])
def test_an_exception_is_told_whatever_the_application_imported(folder, name):
    """The application's own `traceback` is no obstacle, nor is what the library's needs."""
    app = f"import sys\nsys.modules.pop({name!r}, None)\nimport {name}\nassert {name}.LIMIT\n{APP}"
    host = folder("app.py:app", {f"{name}.py": "LIMIT = 3\n", "app.py": app}).ready()
    told = host.call("bug").error["traceback"]
    assert told.startswith("Traceback (most recent call last)") and told.endswith("ValueError: spilt\n")
    assert "in bug" in told and "loop.py" not in told


def test_a_traceback_without_the_module(folder):
    app = "import sys, linecache\n" + APP + "\n@app.command\ndef spoil(): del linecache.checkcache, linecache.getline\n"
    host = folder("app.py:app", {"app.py": app}).ready()
    host.call("spoil")
    told = host.call("bug").error["traceback"]
    assert "app.py" in told and "in bug" in told and told.endswith("ValueError: spilt\n")


def test_a_file_that_hides_a_module_of_asyncio_is_named(folder):
    """The application breaks asyncio itself, as it would in a script: the error says by which file."""
    app = "import logging\n" + APP + ASYNC
    error = folder("app.py:app", {"logging.py": "LIMIT = 3\n", "app.py": app}).start_error()
    assert "logging.py, which hides the standard library's module" in error["message"]


@pytest.mark.parametrize("name", ["calendar", "json", "traceback", "secrets", "herder", "test", "asyncio"])
def test_an_app_may_have_the_name_of_a_library_module(folder, name):
    """And the library's module of that name stays what every other import finds."""
    use = "\n@app.command\ndef mail():\n    import email.utils\n    return email.utils.formatdate(0)[:3]\n"
    host = folder(f"{name}.py:app", {f"{name}.py": APP + use})
    assert_serves(host)
    assert host.call("mail").result == "Thu"


@pytest.mark.parametrize("name", ["calendar", "json", "herder"])
@pytest.mark.parametrize(
    "use", ["from {} import app, LIMIT\n@app.command\ndef more(): pass\n", "import {}\n{}.LIMIT\n"]
)
def test_a_helper_that_imports_such_an_app_is_told_why_not(folder, name, use):
    files = {f"{name}.py": f"LIMIT = 3\n{APP}import views\n", "views.py": use.replace("{}", name)}
    error = folder(f"{name}.py:app", files).start_error()
    assert error["type"] in ("ImportError", "AttributeError")
    assert f"`{name}` is" in error["message"] and f"{name}.py has the same name" in error["message"]


def test_a_symbolic_link_finds_the_neighbours_of_its_target(folder, tmp_path):
    """As `python3 link.py` does; `__file__` is the link's there too."""
    (tmp_path / "current").mkdir()
    (tmp_path / "current" / "app.py").symlink_to("../releases/7/main.py")
    files = {
        "releases/7/main.py": "import prices, here\n" + APP + "\n@app.command\ndef file(): return __file__\n",
        "releases/7/prices.py": "import main\n",
        "here.py": "",  # the current folder stays importable
    }
    host = folder("current/app.py:app", files)
    assert_serves(host)
    assert host.call("file").result == str(tmp_path / "current" / "app.py")


def test_a_file_in_a_package_has_its_name_there(folder):
    """One instance, whichever way its siblings import it and each other; the package's `types.py` hides nothing."""
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


def test_a_package_s_own_file(folder):
    files = {"shop/__init__.py": APP + "from . import more\n", "shop/more.py": "from shop import app\n"}
    assert_serves(folder("shop/__init__.py:app", files))


def test_a_folder_that_can_be_no_package_is_none(folder):
    files = {"my-shop/__init__.py": "", "my-shop/app.py": "import plain\n" + APP, "my-shop/plain.py": ""}
    assert_serves(folder("my-shop/app.py:app", files))


def test_a_package_that_is_another_s_is_refused(folder, tmp_path):
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
    """Hooks alone do not make a worker: it could answer no call."""
    app = "import herder\napp = herder.App()\n@app.on_start\ndef start(): print('began')\n"
    host = folder("app.py:app", {"app.py": app})
    assert "no commands" in (message := host.start_error()["message"]) and "imported?" in message
    assert host.finish()[1] == ""


def test_a_relative_import_in_a_file_is_told_the_other_form(folder):
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
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    version, prefix, bare = asked.split()
    assert f"(Python {version}, {sys.executable}, " in message
    if bare == "True":
        assert "no virtual environment; VIRTUAL_ENV is /gone, which has no bin/python" in message
        assert ".venv/bin/python is a link to /gone/python3.9, which is not there" in message
    else:
        assert f"virtual environment {prefix}" in message


def test_an_old_python_says_which_one_is_needed(tmp_path):
    """Everything up to the check compiles on 3.6; the check is the first thing there is."""
    old = "import sys, runpy\nsys.version_info = (3, 9, 18)\nsys.argv[:] = sys.argv[1:]\n"
    old += "del sys.stdlib_module_names, sys.orig_argv\nrunpy.run_path(sys.argv[0], run_name='__main__')\n"
    script = f"{SOURCE}/herder/__main__.py"
    done = subprocess.run([sys.executable, "-c", old, script, "app.py:app"], capture_output=True, text=True)
    assert done.stderr == f"Python 3.10 or later is needed, {sys.executable} is 3.9.18\n" and done.returncode == 1

    begin = (SOURCE / "herder" / "__init__.py").read_text().partition("\nif sys.argv")[0]
    for text in (begin, (SOURCE / "herder" / "__main__.py").read_text()):
        ast.parse(text, feature_version=(3, 6))


def test_with_m_it_works_as_well(folder, tmp_path):
    """`python -m herder` by hand, in a folder with such files: what Python imports before is Python's own affair."""
    files = {f"{name}.py": "raise SystemExit('no')\n" for name in NAMES if name not in ("types", "runpy", "pkgutil")}
    for name in ("functools", "inspect", "ast", "tokenize", "token", "linecache"):  # runpy's, in some versions
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
    """`import loop` finds no file of Herder's, and its modules are not there under two names."""
    app = APP + "\n@app.command\ndef path():\n    import sys\n    return sys.path\n"
    host = folder("app.py:app", {"app.py": app}).ready()
    path = host.call("path").result
    assert os.path.join(SOURCE, "herder") not in path and path.count(str(SOURCE)) == 1
