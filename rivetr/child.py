"""The process of one slow job: `python -m rivetr.child JOB ID PARENT`, started by the worker (engine.spawn)."""

import logging
import sys

from rivetr import bootstrap, config, shell


def main(job: str, id: str, parent: int) -> None:
    """Do one job and end."""
    shell.end_with_parent(parent)
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    bootstrap.start(config.load(), with_database=True)
    _JOBS[job](id)


def _deploy(id: str) -> None:
    from rivetr.engine import pipeline
    from rivetr.engine.reconcile import held
    from rivetr.runtimes.detect import current
    from rivetr.services import deployments

    with held(id) as mine:
        if mine:
            pipeline.run(id, current(config.current().runtime))
    deployments.enqueue_next(id)


def _reconcile(id: str) -> None:
    from rivetr.engine.reconcile import reconcile
    from rivetr.runtimes.detect import current
    from rivetr.services import deployments

    reconcile(current(config.current().runtime))
    deployments.enqueue_pending()


def _stop_app(id: str) -> None:
    from rivetr.engine.containers import stop_app
    from rivetr.runtimes.detect import current

    stop_app(id, current(config.current().runtime))


def _remove_app(id: str) -> None:
    from rivetr.engine.containers import remove_app
    from rivetr.runtimes.detect import current

    remove_app(id, current(config.current().runtime))


_JOBS = {"deploy": _deploy, "reconcile": _reconcile, "stop-app": _stop_app, "remove-app": _remove_app}

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
