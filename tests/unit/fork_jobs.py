"""What the fork server's tests have it do; `python -m tests.unit.fork_jobs SOCKET LINGER` is the server."""

import os
import signal
import socket
import sys
import time

from rivetr import forkserver


def work(job: str, id: str) -> None:
    """One job: `note` writes its process id into the file `id`, the others end in their own ways."""
    if job == "fail":
        raise ValueError(id)
    if job == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    with open(id, "w", encoding="ascii") as file:
        file.write(f"{os.getpid()} {os.getppid()}\n")
    if job == "sleep":
        time.sleep(60)
    if job == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)


if __name__ == "__main__":
    forkserver.serve(socket.socket(fileno=int(sys.argv[1])), float(sys.argv[2]), work)
