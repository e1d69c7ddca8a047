"""Annotations in all forms: a session is never an argument that a caller can supply."""

import importlib.util
import sys

import pytest

from herder.binding import Command
from herder.errors import CallRejection

if sys.version_info < (3, 14):
    FUTURE = "from __future__ import annotations\n"
else:
    FUTURE = ""
CHECKERS = "from typing import TYPE_CHECKING, Annotated, Optional, Union\nif TYPE_CHECKING:\n    {}\n"


def load_command(tmp_path, text, name="f"):
    """Write `text` to a file and return its function `name` as a command."""
    path = tmp_path / "app.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("app_of_annotations", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # `dataclasses` looks there
    try:
        spec.loader.exec_module(module)
        return Command("f", getattr(module, name), False)
    finally:
        del sys.modules[spec.name]


def assert_injected(command, parameter="s"):
    assert command.session_parameter == parameter and parameter not in command.accepted_types
    with pytest.raises(CallRejection, match="unexpected argument"):
        command.check({parameter: "forged"})


ANNOTATIONS = [
    ("from herder import Session", "Session"),
    ("from herder import Session", "Session | None"),
    ("from herder import Session", "None | Session"),
    ("from herder import Session", "Optional[Session]"),
    ("from herder import Session", "Union[None, Session]"),
    ("from herder import Session", "Optional['Session']"),
    ("from herder import Session", "Optional['Session | None']"),
    ("from herder import Session", "Annotated[Session, 'theirs']"),
    ("from herder import Session", "Thing | Session"),
    ("from herder import Session", "Session | Thing[int]"),
    ("from herder import Session as S", "S | None"),
    ("from herder.session import Session as S", "Optional[S]"),
    ("import herder", "herder.Session"),
    ("import herder", "herder.Session | None"),
    ("import herder as h", "h.Session | None"),
    ("import herder as h", "Optional[h.Session]"),
]


@pytest.mark.parametrize("imported,annotation", ANNOTATIONS)
def test_a_session_imported_for_type_checkers_only_is_injected(tmp_path, imported, annotation):
    """With `from __future__ import annotations`, and as an explicit string."""
    later = f"def f(n: int, s: {annotation} = None): pass\n"
    assert_injected(load_command(tmp_path, FUTURE + CHECKERS.format(imported) + later))
    if "'" not in annotation:
        quoted = f'def f(n: int, s: "{annotation}" = None): pass\n'
        assert_injected(load_command(tmp_path, CHECKERS.format(imported) + quoted))


@pytest.mark.parametrize("annotation", ["Optional[Session]", "Union[Session, None]"])
def test_typing_names_imported_for_type_checkers_only_are_evaluated(tmp_path, annotation):
    text = f"{FUTURE}TYPE_CHECKING = False\nif TYPE_CHECKING:\n    from typing import Optional, Union\n"
    assert_injected(load_command(tmp_path, f"{text}    from herder import Session\ndef f(s: {annotation}): pass\n"))


@pytest.mark.parametrize("annotation", ["Optional['Session']", "Annotated['Session', 1]", "ALIAS", "'ALIAS'"])
def test_strings_within_an_annotation_are_evaluated(tmp_path, annotation):
    text = CHECKERS.format("from herder import Session") + "ALIAS = 'Session | None'\n"
    assert_injected(load_command(tmp_path, f"{text}def f(s: {annotation}): pass\n"))


@pytest.mark.parametrize(
    "shape",
    [
        "class f:\n    def __init__(self, s: Session | None = None): pass\n",
        "class f:\n    def __new__(cls, s: 'Optional[Session]' = None): pass\n",
        "import dataclasses\n@dataclasses.dataclass\nclass f:\n    s: Session | None = None\n",
        "class Base:\n    def __init__(self, s: Optional[Session] = None): pass\nclass f(Base):\n    func = print\n",
        "import functools as f\nclass C:\n    def __init__(self, s: Session | None): pass\nf = f.partial(C)\n",
        "class C:\n    def __call__(self, s: Session | None): pass\nf = C()\n",
    ],
)
def test_a_class_that_is_a_command_gets_the_session(tmp_path, shape):
    assert_injected(load_command(tmp_path, FUTURE + CHECKERS.format("from herder import Session") + shape))


def test_a_call_imported_for_type_checkers_only_is_injected(tmp_path):
    text = FUTURE + CHECKERS.format("from herder import Call as C") + "def f(c: C | None = None): pass\n"
    command = load_command(tmp_path, text)
    assert command.call_parameter == "c" and command.accepted_types == {}


def test_other_annotations_stay_arguments(tmp_path):
    """Another class named Session is not injected."""
    text = "import dataclasses\n@dataclasses.dataclass\nclass Session:\n    id: str = ''\n"
    command = load_command(
        tmp_path, FUTURE + CHECKERS.format("pass") + text + "def f(n: Optional[int], s: Session): pass"
    )
    assert command.session_parameter is None and command.accepted_types.keys() == {"n", "s"}


UNKNOWN = [
    ("t: Thing", "`Thing` exists for type checkers only; import it outside `if TYPE_CHECKING`"),
    ("t: Thing[int] | None", "`Thing` exists for type checkers only"),
    ("t: list[Thing]", "`Thing` exists for type checkers only"),
    ("t: n.Thing", "`n.Thing` exists for type checkers only"),
    ("t: Nothing", "`Nothing` is not defined in the module of the function"),
    ("t: 1 +", "cannot be evaluated"),
    ("**t: Thing", "`Thing` exists for type checkers only"),
    ("t: Annotated[int, Thing]", "`Thing` exists for type checkers only"),
    ("t: list[Annotated[int, Thing()]]", "`Thing` exists for type checkers only"),
    ("t: Annotated[int, __import__('herder').Meta(ge=Nothing)]", "`Nothing` is not defined in the module of the"),
]


@pytest.mark.parametrize("parameter,reason", UNKNOWN)
def test_an_annotation_that_does_not_exist_is_refused(tmp_path, parameter, reason):
    """The message names the command, the file, the line and the parameter."""
    name, _, annotation = parameter.partition(": ")
    text = CHECKERS.format("from nowhere import Thing; import nowhere as n") + f"def f({name}: {annotation!r}): pass\n"
    with pytest.raises(TypeError) as refused:
        load_command(tmp_path, text)
    assert f"command 'f' ({tmp_path}/app.py:4): parameter `t`: " in str(refused.value) and reason in str(refused.value)


def test_two_parameters_for_the_session_are_refused(tmp_path):
    """Herder would supply only one of them, and callers could supply the other."""
    with pytest.raises(TypeError, match=r"herder\.Session, found: a, b"):
        load_command(tmp_path, "import herder\ndef f(a: herder.Session, b: 'herder.Session | None' = None): pass\n")


def test_a_worker_supplies_an_optional_session(start):
    host = start(
        """
        from typing import TYPE_CHECKING
        if TYPE_CHECKING: from herder import Session as S

        @app.command
        def who(session: "S | None" = None): return getattr(session, "id", session)
        """
    )
    assert host.call("who", session="ann").result == "ann"
    assert host.call("who").error_kind == "bad_arguments"


def test_a_session_of_another_library_is_an_argument(tmp_path):
    """Herder's session is recognized by its origin, not only by its name."""
    checkers = CHECKERS.format("from sqlalchemy.orm import Session")
    with pytest.raises(TypeError, match="parameter `db`: `Session` exists for type checkers only"):
        load_command(tmp_path, FUTURE + checkers + "def f(x: int, db: 'Session | None' = None): pass")
