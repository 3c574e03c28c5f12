"""The web application of a fresh instance inside this process, without a worker or a proxy."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from rivetr import bootstrap, config, crypto, db, queue
from rivetr.factory import create_app
from tests.instance import ADMIN_TOKEN


@contextmanager
def application(folder: Path, **settings: str) -> Iterator[Flask]:
    """`settings` are named as in the environment (`metrics__public`); what a process keeps once is put back."""
    values = {"server__data_dir": str(folder), "auth__admin_token": ADMIN_TOKEN, **settings}
    loaded = config.load(environ={f"RIVETR_{name.upper()}": value for name, value in values.items()})
    with pytest.MonkeyPatch.context() as kept:
        for place, name in ((config, "_current"), (crypto, "_key"), (db, "_sessions"), (queue.huey, "_storage")):
            kept.setattr(place, name, getattr(place, name))
        bootstrap.start(loaded, with_database=False)
        yield create_app(loaded)


def administrator(app: Flask) -> FlaskClient:
    """A client with the administrator's token."""
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {ADMIN_TOKEN}"
    return client
