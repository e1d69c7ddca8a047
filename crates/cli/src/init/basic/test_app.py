"""Calls the commands without a server. Arguments and results are converted as in a worker."""

import pytest
from app import app
from herder.testing import CallError, Client


def test_greet():
    with Client(app) as client:
        assert client.call("greet", name="Ann", times=2) == ["Hello, Ann!", "Hello, Ann!"]


def test_greet_refuses_to_greet_nobody():
    with Client(app) as client, pytest.raises(CallError) as refused:
        client.call("greet", name="Ann", times=0)
    assert refused.value.code == "too-few"
