"""What a child process can do. Importing this is most of its start, so that it comes after the cheap checks."""

from collections.abc import Callable, Mapping

from rivetr import config
from rivetr.engine import pipeline
from rivetr.engine.containers import remove_app, stop_app
from rivetr.engine.reconcile import held, reconcile
from rivetr.runtimes import detect
from rivetr.runtimes.base import Runtime


def _engine() -> Runtime:
    return detect.current(config.current().runtime)


def _deploy(id: str) -> None:
    with held(id) as mine:
        if mine:
            pipeline.run(id, _engine)
    # The queue is needed at the end only; loading it sooner would keep a deployment waiting.
    from rivetr.services import deployments

    deployments.enqueue_next(id)


def _reconcile(_id: str) -> None:
    reconcile(_engine)
    from rivetr.services import deployments

    deployments.enqueue_pending()


def _stop_app(id: str) -> None:
    stop_app(id, _engine())


def _remove_app(id: str) -> None:
    remove_app(id, _engine())


JOBS: Mapping[str, Callable[[str], None]] = {
    "deploy": _deploy,
    "reconcile": _reconcile,
    "stop-app": _stop_app,
    "remove-app": _remove_app,
}
