"""`python -m rivetr.child SOCKET LINGER`: the server whose children do the worker's slow jobs (`engine.spawn`)."""

import gc
import importlib
import logging
import socket
import sys

# Importing makes hardly any garbage, and looking for it takes a tenth of the time that importing takes.
gc.disable()

from sqlalchemy.orm import configure_mappers  # noqa: E402

from rivetr import bootstrap, config, forkserver  # noqa: E402
from rivetr.jobs import JOBS  # noqa: E402


def main(descriptor: int, linger_seconds: float) -> None:
    """Load what jobs need, then serve the worker that holds the other end of the socket."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    # Sessions are made ready here; connections are opened by the children, who must not share them.
    bootstrap.start(config.load(), with_database=True)
    configure_mappers()
    # What a deployment needs later anyway.
    for module in ("rivetr.runtimes.docker", "rivetr.services.deployments"):
        importlib.import_module(module)
    gc.freeze()
    forkserver.serve(socket.socket(fileno=descriptor), linger_seconds, _work)


def _work(job: str, id: str) -> None:
    gc.enable()
    JOBS[job](id)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
