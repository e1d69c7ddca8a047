"""Runs one worker process: `python .../herder/__main__.py APP`, or `python -m herder APP`. Only Herder starts it.

Herder runs it as a script: `-m` puts the current folder on `sys.path` and imports modules of the standard library
before the first line of this file, so a `types.py` in that folder would replace one of them.
"""

import sys


def _fix_script_path(file):  # type: ignore[no-untyped-def]  # no annotations: old versions must reach the version check
    """Replace this file's folder on `sys.path` by its parent: the files in it are no top-level modules."""
    import os

    folder = os.path.dirname(os.path.abspath(file))
    if sys.path and os.path.realpath(sys.path[0]) == os.path.realpath(folder):
        del sys.path[0]
    parent = os.path.dirname(folder)
    if parent not in sys.path:
        sys.path.insert(0, parent)
    return parent


def _choose_package(own):  # type: ignore[no-untyped-def]
    """Let an installed copy of this package replace the host's copy in the folder `own` if both are equal."""
    import os

    if "HERDER_BYTECODE" not in os.environ or sys.version_info < (3, 10):
        return None  # not the copy that the host has written
    real = os.path.realpath(own)
    # One look into each folder. Most interpreters have no installed copy, and their workers must start quickly.
    found = [each for each in sys.path if os.path.isfile(os.path.join(each, "herder", "worker.py"))]
    found = [each for each in found if os.path.realpath(each) != real]
    if not found:
        return None
    from importlib.machinery import SourceFileLoader

    name = "_herder_installed"
    chooser = type(sys)(name)
    SourceFileLoader(name, os.path.join(own, "herder", "installed.py")).exec_module(chooser)
    return chooser.choose(found, own)


if __name__ == "__main__":
    installed = None
    if not __package__:
        installed = _choose_package(_fix_script_path(__file__))  # type: ignore[no-untyped-call]
    try:
        from herder.worker import main
    except ImportError as error:
        if sys.version_info >= (3, 10):  # noqa: UP036
            raise
        sys.exit(str(error))  # a single line, since the host reports the last line of the output

    if not __package__:  # looks like `-m` from here on: `multiprocessing` must not run this file in spawned processes
        __spec__ = type(sys.__spec__)("herder.__main__", None)
    sys.exit(main(sys.argv[1:], installed))
