"""What gunicorn (`app:app`) and Huey's consumer (`app.huey`) point at; the web part loads only when asked for."""

from typing import TYPE_CHECKING

from rivetr import bootstrap, config, tasks  # noqa: F401 - Huey knows the tasks once imported
from rivetr.queue import huey

if TYPE_CHECKING:
    from flask import Flask

    app: Flask

__all__ = ["app", "huey"]

bootstrap.start(config.load(), with_database=False)


def __getattr__(name: str) -> object:
    if name != "app":
        raise AttributeError(name)
    from rivetr.factory import create_app

    globals()["app"] = create_app(config.current())
    return globals()["app"]
