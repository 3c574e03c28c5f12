"""gunicorn's worker as this very process, without gunicorn's own parent.

Our supervisor (or systemd) is the parent already; gunicorn's would only cost its 15 MB
(docs/decisions/0004-supervisor.md). Everything else is gunicorn's: configuration, sockets, the worker.
"""

import logging
import os
import sys
from typing import Any

from gunicorn import sock
from gunicorn.app.wsgiapp import WSGIApplication

from rivetr.bootstrap import ROOT


def serve() -> None:
    """Serve `app:app` as gunicorn.conf.py says, until SIGTERM."""
    sys.argv = ["rivetr-web", "--pythonpath", str(ROOT), "--config", str(ROOT / "gunicorn.conf.py"), "app:app"]
    application = WSGIApplication("%(prog)s")
    settings = application.cfg
    # It writes a line a request; who asked what is the access log of whatever stands in front.
    logging.getLogger("geventwebsocket").setLevel(logging.WARNING)
    log = settings.logger_class(settings)
    # The types package knows the sockets by another name than the worker.
    listeners: Any = sock.create_sockets(settings, log)
    worker: Any = settings.worker_class(
        age=1,
        ppid=os.getppid(),
        sockets=listeners,
        app=application,
        timeout=settings.timeout,
        cfg=settings,
        log=log,
    )
    worker.pid = os.getpid()
    worker.init_process()
