"""One worker process: `python .../herder/__main__.py APP`, or `python -m herder APP`.

Herder starts it; there is nothing to run by hand. It is run as a script, since `-m` puts the current folder on the path
and imports modules of the standard library before the first line here: a `types.py` in that folder would be one.
"""

import sys


def _as_script(file):  # type: ignore[no-untyped-def]  # no annotations: an old Python has to get as far as the version
    """Take the folder of this file off the path, which holds no modules of anybody; put the one above it there."""
    import os

    folder = os.path.dirname(os.path.abspath(file))
    if sys.path and os.path.realpath(sys.path[0]) == os.path.realpath(folder):
        del sys.path[0]
    above = os.path.dirname(folder)
    if above not in sys.path:
        sys.path.insert(0, above)


if __name__ == "__main__":
    if not __package__:
        _as_script(__file__)  # type: ignore[no-untyped-call]
    try:
        from herder.worker import main
    except ImportError as error:
        if sys.version_info >= (3, 10):  # noqa: UP036
            raise
        sys.exit(str(error))  # one line; the host tells the last one

    if not __package__:  # as with `-m`: `multiprocessing` must not run this file in the processes that it spawns
        __spec__ = type(sys.__spec__)("herder.__main__", None)
    sys.exit(main(sys.argv[1:]))
