"""The process of one slow job: `python -m rivetr.child JOB ID PARENT`, started by the worker (engine.spawn)."""

import gc
import logging
import sys

from rivetr import bootstrap, config, shell


def main(job: str, id: str, parent: int) -> None:
    """Do one job and end."""
    shell.end_with_parent(parent)
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    # Importing makes hardly any garbage, and looking for it takes a tenth of the time that importing takes.
    gc.disable()
    bootstrap.start(config.load(), with_database=True)
    from rivetr.jobs import JOBS

    gc.freeze()
    gc.enable()
    JOBS[job](id)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
