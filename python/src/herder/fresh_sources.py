"""Compiles the application's own files from their sources at each start, in a worker of `herder dev`.

Python compares the bytecode of a file with its source by size and by time, in seconds. A file that is saved twice in
one second with the same size would run as it was before the second save. So no bytecode of the watched folders is read
or written. Installed packages use theirs as usual.

Imported only if the host sets HERDER_FRESH_SOURCES.
"""

from __future__ import annotations

import os
from importlib.machinery import SourceFileLoader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

KEY = "HERDER_FRESH_SOURCES"  # folders, separated by `os.pathsep`


def install(folders: str) -> None:
    """Compile every module below these folders from its source, except installed packages."""
    roots = tuple(os.path.join(os.path.realpath(folder), "") for folder in folders.split(os.pathsep) if folder)
    cached = SourceFileLoader.get_code

    def get_code(self: SourceFileLoader, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        if os.path.realpath(path).startswith(roots) and "-packages" not in path:
            return self.source_to_code(self.get_data(path), path)
        return cached(self, fullname)

    SourceFileLoader.get_code = get_code  # type: ignore[assignment, method-assign]
