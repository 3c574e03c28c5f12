"""Bytes both ways between two connections that have left HTTP behind (RFC 9110, 7.8)."""

import gevent
from gevent import socket

from proxy.stream import PIECE, Ended, Stream

# How long the other direction may still talk once one has ended.
_LINGER_SECONDS = 5.0


def run(left: Stream, right: Stream) -> None:
    """Copy until both directions have ended, or one has and the other stays silent; closes `right`."""
    left.is_tunnel = True
    copying = [gevent.spawn(_copy, left, right), gevent.spawn(_copy, right, left)]
    try:
        gevent.wait(copying, count=1)
        gevent.joinall(copying, timeout=_LINGER_SECONDS)
    finally:
        gevent.killall(copying)
        right.close()


def _next(source: Stream) -> bytes:
    while True:
        source.sock.settimeout(None)
        try:
            return source.sock.recv(PIECE)
        except TimeoutError:
            # The other direction, which writes to this socket, has set a limit meanwhile.
            continue


def _copy(source: Stream, target: Stream) -> None:
    try:
        piece = bytes(source.buffer)
        source.buffer.clear()
        while True:
            if piece:
                target.send(piece)
            piece = _next(source)
            if not piece:
                break
    except (Ended, OSError):
        pass
    target.interrupt(socket.SHUT_WR)
