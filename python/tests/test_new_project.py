"""The tests of the projects that `herder init` writes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PYTHON = Path(__file__).resolve().parents[1]
TEMPLATES = PYTHON.parent / "crates/cli/src/init"


@pytest.mark.parametrize("kind", ["basic", "enhanced"])
def test_the_tests_of_a_new_project_pass(kind, tmp_path):
    for name in ("app.py", "test_app.py"):
        text = (TEMPLATES / kind / name).read_text()
        (tmp_path / name).write_text(text.replace("NAME", "shop"))
    environment = {**os.environ, "PYTHONPATH": str(PYTHON / "src")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0 and "2 passed" in run.stdout, run.stdout + run.stderr
