"""Files below the watched folders run as they were saved last, whatever bytecode says."""

import os
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[1] / "src"
PROGRAM = """
import sys
from herder import fresh_sources
fresh_sources.install(sys.argv[1])
import prices
print(prices.PRICE)
"""


def run(folder, watched):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCES), str(folder)])}
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"):
        environment.pop(name, None)
    command = [sys.executable, "-c", PROGRAM, str(watched)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def save(file, text):
    file.write_text(text)
    os.utime(file, (1_700_000_000, 1_700_000_000))  # every save in the same second


def test_r31_a_save_in_the_same_second_with_the_same_size_is_not_stale(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    file = tmp_path / "prices.py"
    save(file, "PRICE = 1\n")
    assert run(tmp_path, other) == "1"
    save(file, "PRICE = 2\n")
    assert run(tmp_path, other) == "1", "Python alone runs stale bytecode; otherwise this test shows nothing"
    assert run(tmp_path, tmp_path) == "2"
    save(file, "PRICE = 3\n")
    assert run(tmp_path, tmp_path) == "3"


def test_installed_packages_use_their_bytecode(tmp_path):
    packages = tmp_path / "site-packages"
    packages.mkdir()
    file = packages / "prices.py"
    save(file, "PRICE = 1\n")
    assert run(packages, tmp_path) == "1"
    assert list(packages.glob("__pycache__/prices.*.pyc"))
