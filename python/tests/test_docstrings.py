"""R73: the documentation strings of functions describe commands and their parameters."""

import functools
from typing import Annotated

import pytest

import herder
from herder import schemas
from test_schemas import described

GOOGLE = """Add an item.

    Longer.

    Args:
        item: What to add,
            as a name.
        count (int): How many: at most 10.
        none: Not a parameter.

    Returns:
        The cart.
    """
SPHINX = """Add an item.

    :param item: What to add,
        as a name.
    :param int count: How many: at most 10.
    :returns: the cart
    """
NUMPY = """Add an item.

    Parameters
    ----------
    item : str
        What to add,
        as a name.
    count : int, optional
        How many: at most 10.

    Returns
    -------
    list
    """


@pytest.mark.parametrize("text", [GOOGLE, SPHINX, NUMPY], ids=["google", "sphinx", "numpy"])
def test_documentation_strings_describe_parameters(text):
    def add(item: str, count: Annotated[int, herder.Meta(le=10)] = 1): ...

    add.__doc__ = text
    entry = described(add)
    assert entry["description"].startswith("Add an item.\n\n") and "    :" not in entry["description"]
    properties = entry["parameters"]["properties"]
    assert properties["item"]["description"] == "What to add, as a name."
    assert properties["count"] == {
        "type": "integer",
        "maximum": 10,
        "default": 1,
        "description": "How many: at most 10.",
    }


def test_the_documentation_of_callable_objects():
    class Handler:
        """The class."""

        def __call__(self, x: int):
            """Handle x."""

    def plain(a: int, b: int = 1):
        """Add."""

    app = herder.App()
    app.command(name="object")(Handler())
    app.command(name="partial")(functools.partial(plain, b=2))
    found = schemas.describe_commands(app, app._commands(), app._encode())
    assert [each.get("description") for each in found] == ["Handle x.", "Add."]
