"""Calls the commands without a server. Arguments and results are converted as in a worker."""

import pytest
from app import app
from herder.testing import CallError, Client


def test_price():
    with Client(app) as client:
        assert client.call("price", item="tea", pieces=2) == 600
        with pytest.raises(CallError) as refused:
            client.call("price", item="tea", pieces=0)
    assert refused.value.code == "too-few"


def test_each_session_has_its_own_cart():
    with Client(app) as client:
        assert client.call("add", session="ann", item="tea") == ["tea"]
        assert client.call("add", session="ann", item="milk") == ["tea", "milk"]
        assert client.call("add", session="bob", item="rice") == ["rice"]
