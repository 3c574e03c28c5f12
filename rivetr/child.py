"""The process of one slow job: `python -m rivetr.child JOB ID PARENT`, started by the worker (engine.spawn)."""

import logging
import sys
from typing import TYPE_CHECKING

from rivetr import bootstrap, config, shell

if TYPE_CHECKING:
    from rivetr.runtimes.base import Runtime


def main(job: str, id: str, parent: int) -> None:
    """Do one job and end."""
    shell.end_with_parent(parent)
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    bootstrap.start(config.load(), with_database=True)
    _JOBS[job](id)


def _engine() -> "Runtime":
    from rivetr.runtimes.detect import current

    return current(config.current().runtime)


def _deploy(id: str) -> None:
    from rivetr.engine import pipeline
    from rivetr.engine.reconcile import held
    from rivetr.services import deployments

    with held(id) as mine:
        if mine:
            pipeline.run(id, _engine)
    deployments.enqueue_next(id)


def _reconcile(id: str) -> None:
    from rivetr.engine.reconcile import reconcile
    from rivetr.services import deployments

    reconcile(_engine)
    deployments.enqueue_pending()


def _stop_app(id: str) -> None:
    from rivetr.engine.containers import stop_app

    stop_app(id, _engine())


def _remove_app(id: str) -> None:
    from rivetr.engine.containers import remove_app

    remove_app(id, _engine())


_JOBS = {"deploy": _deploy, "reconcile": _reconcile, "stop-app": _stop_app, "remove-app": _remove_app}

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
