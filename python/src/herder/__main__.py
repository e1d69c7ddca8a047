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


if __name__ == "__main__":
    if not __package__:
        _fix_script_path(__file__)  # type: ignore[no-untyped-call]
    try:
        from herder.worker import main
    except ImportError as error:
        if sys.version_info >= (3, 10):  # noqa: UP036
            raise
        sys.exit(str(error))  # a single line, since the host reports the last line of the output

    if not __package__:  # looks like `-m` from here on: `multiprocessing` must not run this file in spawned processes
        __spec__ = type(sys.__spec__)("herder.__main__", None)
    sys.exit(main(sys.argv[1:]))
