"""Which copy of the package a worker imports: the host's, or one that is installed for its interpreter."""

import os
import shutil
import stat
import sys

import pytest

from host import SOURCE, FakeHost

APP = """
import os, sys, herder
app = herder.App()

@app.command
def facts():
    return [os.path.dirname(os.path.dirname(herder.__file__)), os.environ.get("PYTHONDONTWRITEBYTECODE"),
            sys.dont_write_bytecode, os.environ.get("HERDER_BYTECODE")]
"""


def copy(folder):
    shutil.copytree(SOURCE / "herder", folder / "herder", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def own(tmp_path):
    """The copy of the host."""
    return copy(tmp_path / "host")


@pytest.fixture
def installed(tmp_path):
    """A copy in a folder that is on the path of the interpreter."""
    return copy(tmp_path / "site-packages")


def run(own, installed, before=""):
    """Start a worker as the host does. Return its hello, and what its app sees."""
    app = own.parent / "app.py"
    app.write_text(APP)
    env = {
        "PYTHONPATH": f"{own}:{installed}",
        "PYTHONPYCACHEPREFIX": "",
        "HERDER_BYTECODE": before,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    with FakeHost(f"{app}:app", env=env) as host:
        host.ready()
        return host.hello.get("installed"), host.call("facts").result


def change(folder, name, old="", new=""):
    file = folder / "herder" / name
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new) if old else text + "\n# changed\n")


def test_an_equal_copy_is_imported(own, installed):
    assert run(own, installed) == ({"path": str(installed)}, [str(installed), None, False, None])
    assert not (own / "herder/__pycache__/worker.pyc").exists()
    assert list((installed / "herder/__pycache__").glob("worker.*.pyc")), "Python compiles it as any other package"
    assert not list((installed / "herder/__pycache__").glob("*.record")), "the host does not check this copy"


def test_a_copy_of_another_version_is_not_imported(own, installed):
    change(installed, "__init__.py", '__version__ = "', '__version__ = "0.0.')
    hello, (folder, *_) = run(own, installed)
    assert folder == str(own)
    assert hello["path"] == str(installed)
    assert "version 0.0." in hello["unused"] and "install that version" in hello["unused"]


@pytest.mark.parametrize("name", ["frames.py", "testing.py", "__init__.py"])
def test_a_copy_of_the_same_version_with_a_changed_file_is_not_imported(own, installed, name):
    change(installed, name)
    hello, (folder, *_) = run(own, installed)
    assert folder == str(own)
    assert f"its {name} differs" in hello["unused"]


def test_a_copy_without_one_of_the_files_is_not_imported(own, installed):
    (installed / "herder" / "notebook.py").unlink()
    hello, (folder, *_) = run(own, installed)
    assert folder == str(own) and "its notebook.py differs" in hello["unused"]


def test_a_folder_of_the_application_with_the_same_name_is_ignored(own, tmp_path):
    folder = tmp_path / "site-packages" / "herder"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text('__version__ = "1"\nraise SystemExit("imported")\n')
    (folder / "worker.py").write_text("raise SystemExit('imported')\n")
    assert run(own, folder.parent)[0] is None


def test_a_copy_after_a_folder_of_the_same_name_is_not_imported(own, installed, tmp_path):
    folder = tmp_path / "project" / "herder"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemExit('imported')")
    hello, (used, *_) = run(own, f"{folder.parent}:{installed}")
    assert used == str(own)
    assert hello["path"] == str(installed) and f"{folder}/__init__.py has the same name" in hello["unused"]


def test_a_copy_that_each_start_would_compile_is_not_imported(own, installed):
    hello, (folder, *_) = run(own, installed, before="1")
    assert folder == str(own) and f"not compiled: run `{sys.executable} -m compileall" in hello["unused"]
    assert run(own, installed)[0] == {"path": str(installed)}, "compiles the copy"
    assert run(own, installed, before="1")[0] == {"path": str(installed)}


def test_a_compiled_copy_that_cannot_be_written_is_imported(own, installed):
    run(own, installed)
    package = installed / "herder"
    for path in [*package.rglob("*"), package]:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    try:
        assert run(own, installed)[0] == {"path": str(installed)}
    finally:
        os.chmod(package, 0o755)
        os.chmod(package / "__pycache__", 0o755)


def test_a_copy_that_is_the_hosts_own_folder_is_not_compared(own, tmp_path):
    (tmp_path / "link").symlink_to(own)
    assert run(own, tmp_path / "link")[0] is None


def test_the_path_of_the_copy_need_not_be_text(own, tmp_path):
    change(copy(tmp_path / "caf\udce9"), "codec.py")  # a byte that is not UTF-8
    stated, _ = run(own, tmp_path / "caf\udce9")
    assert stated["path"].endswith("caf\\udce9")
