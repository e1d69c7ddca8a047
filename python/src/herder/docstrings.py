"""Reads the documentation strings of handlers: the whole text, and what it says about each parameter. No state.

Three forms are known: sections `Args:` (Google), fields `:param name:` (Sphinx), and sections underlined by hyphens
(NumPy). A worker imports this module only if a documentation string has one of them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

HINTS = ("Args:", "Arguments:", "Parameters:", ":param ", "Parameters\n---")  # each form has one of these
TITLES = ("Args:", "Arguments:", "Parameters:")


def describe_parameters(documentation: str, names: Iterable[str]) -> dict[str, str]:
    """Return the descriptions of the parameters `names`. What is not clearly one of them is left out."""
    lines = documentation.splitlines()
    found: dict[str, list[str]] = {}
    for index, line in enumerate(lines):
        if line.strip() in TITLES:
            _read_google(lines[index + 1 :], _indentation(line), found)
        elif line.strip() == "Parameters" and lines[index + 1 : index + 2] and set(lines[index + 1].strip()) == {"-"}:
            _read_numpy(lines[index + 2 :], _indentation(line), found)
    _read_sphinx(lines, found)
    known = set(names)
    described = {name: " ".join(" ".join(text).split()) for name, text in found.items() if name in known}
    return {name: text for name, text in described.items() if text}


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip())


def _read_google(lines: list[str], outer: int, found: dict[str, list[str]]) -> None:
    """Read `name: text` or `name (type): text`; deeper lines continue the text."""
    inner, text = -1, []
    for line in lines:
        indentation = _indentation(line)
        if not line.strip():
            continue
        if indentation <= outer:
            return
        if inner < 0:
            inner = indentation
        if indentation == inner:
            head, _, rest = line.strip().partition(":")
            text = found.setdefault(head.partition("(")[0].strip().lstrip("*"), [])
            text.append(rest)
        else:
            text.append(line)


def _read_numpy(lines: list[str], outer: int, found: dict[str, list[str]]) -> None:
    """Read `name : type`, and deeper lines with the text."""
    text: list[str] = []
    for index, line in enumerate(lines):
        if not line.strip():
            continue
        following = lines[index + 1].strip() if index + 1 < len(lines) else ""
        if _indentation(line) < outer or (following and set(following) == {"-"}):  # the next section
            return
        if _indentation(line) == outer:
            text = found.setdefault(line.partition(":")[0].strip().lstrip("*"), [])
        else:
            text.append(line)


def _read_sphinx(lines: list[str], found: dict[str, list[str]]) -> None:
    """Read `:param name: text` or `:param type name: text`; deeper lines continue the text."""
    text: list[str] | None = None
    outer = 0
    for line in lines:
        if line.strip().startswith(":param "):
            head, _, rest = line.strip()[len(":param ") :].partition(":")
            outer, text = _indentation(line), found.setdefault((head.split() or [""])[-1].lstrip("*"), [])
            text.append(rest)
        elif text is not None and line.strip() and _indentation(line) > outer:
            text.append(line)
        else:
            text = None
