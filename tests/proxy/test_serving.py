"""The real proxy process between real sockets."""

import base64
import hashlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from proxy import contract
from tests.instance import ROOT, Answer, fetch, free_port, wait_for

BIG = 30_000_000


class Backend(BaseHTTPRequestHandler):
    """A small app: echoes, waits, streams, and speaks WebSocket enough to echo bytes."""

    protocol_version = "HTTP/1.1"
    gate = threading.Event()

    def do_GET(self) -> None:
        if self.headers.get("Upgrade") == "websocket":
            self._echo_socket()
        elif self.path == "/wait":
            self.gate.wait(20)
            self._answer(b"waited")
        elif self.path == "/stream":
            self._stream()
        elif self.path == "/cut":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"half")
            self.close_connection = True
        else:
            self._answer("".join(f"{name}: {value}\n" for name, value in self.headers.items()).encode())

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(length)
        self._answer(hashlib.sha256(body).hexdigest().encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"5\r\nfirst\r\n")
        self.gate.wait(20)
        self.wfile.write(b"6\r\nsecond\r\n0\r\n\r\n")

    def _echo_socket(self) -> None:
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        while data := self.connection.recv(65536):
            self.connection.sendall(data)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


class Proxy:
    """A proxy process of its own with its files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.routes, self.state = folder / "routes.db", folder / "proxy.db"
        self.port, self.tls_port = free_port(), free_port()
        chain, key = certificate(folder, "default.test")
        argv = [sys.executable, "-OO", "-m", "proxy", "--routes", str(self.routes), "--state", str(self.state)]
        argv += ["--host", "127.0.0.1", "--http-port", str(self.port), "--https-port", str(self.tls_port)]
        argv += ["--default-cert", str(chain), "--default-key", str(key), "--drain-timeout", "1"]
        self.process = subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.PIPE)
        wait_for(self.answers, what="the proxy")

    def answers(self) -> bool:
        try:
            return fetch(self.port).status == 404
        except OSError:
            return False

    def publish(self, *routes: contract.Route, certificates: tuple[contract.CertificateFiles, ...] = ()) -> int:
        """Publish and wait until it is adopted."""
        connection = contract.open_routes(self.routes)
        state = contract.open_state(self.state)
        try:
            snapshot = contract.Snapshot(routes, certificates, (("tok", "tok.thumb"),))
            generation = contract.publish(connection, snapshot)
            contract.wake(state, self.routes)
            wait_for(lambda: self.worker() and self.worker()[0] >= generation, 5, "the routes to be adopted")
        finally:
            connection.close()
            state.close()
        return generation

    def worker(self) -> tuple[int, int]:
        state = contract.open_state(self.state)
        try:
            found = [w for w in contract.workers(state) if w.pid == self.process.pid]
        finally:
            state.close()
        return (found[0].adopted, found[0].drained) if found else (0, 0)

    def get(self, path: str = "/", host: str = "a.test", **headers: str) -> Answer:
        return fetch(self.port, path, host=host, headers=headers)

    def raw(self, request: bytes) -> bytes:
        """Send bytes, read until the proxy closes."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as sock:
            sock.sendall(request)
            sock.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := sock.recv(65536):
                answer += piece
            return answer


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = (
        builder.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=9))
    )
    chain, private = folder / f"{name}.pem", folder / f"{name}.key"
    chain.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, private


@pytest.fixture
def backend() -> Iterator[str]:
    Backend.gate = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}"
    Backend.gate.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    proxy = Proxy(tmp_path)
    yield proxy
    proxy.process.kill()
    proxy.process.communicate()


@pytest.fixture
def routed(proxy: Proxy, backend: str) -> Proxy:
    proxy.publish(route("a.test", backend))
    return proxy


def route(host: str, *addresses: str) -> contract.Route:
    return contract.Route(host, "/", tuple(contract.Backend(address) for address in addresses))


def test_requests_reach_the_backend_with_who_asked(routed: Proxy) -> None:
    seen = routed.get("/x", **{"X-Forwarded-For": "9.9.9.9", "Connection": "X-Hop", "X-Hop": "1"}).text
    assert "Host: a.test\n" in seen
    assert "X-Forwarded-For: 127.0.0.1\n" in seen
    assert "X-Forwarded-Proto: http\n" in seen
    assert "X-Forwarded-Host: a.test\n" in seen
    assert "X-Hop" not in seen


def test_bodies_go_through_whole_in_either_framing(routed: Proxy) -> None:
    body = os.urandom(BIG)
    wanted = hashlib.sha256(body).hexdigest()
    assert fetch(routed.port, host="a.test", method="POST", body=body).text == wanted
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (b"ab", b"c" * 70_000)) + b"0\r\n\r\n"
    head = b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    assert hashlib.sha256(b"ab" + b"c" * 70_000).hexdigest().encode() in routed.raw(head + chunked)
    peak = Path(f"/proc/{routed.process.pid}/status").read_text().partition("VmHWM:")[2].split()[0]
    assert int(peak) * 1024 < BIG + 60_000_000


def test_an_answer_streams_as_it_comes(routed: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", routed.port), 10) as sock:
        sock.sendall(b"GET /stream HTTP/1.1\r\nHost: a.test\r\n\r\n")
        seen = b""
        while b"first" not in seen:
            seen += sock.recv(4096)
        assert b"second" not in seen
        Backend.gate.set()
        while b"0\r\n\r\n" not in seen:
            seen += sock.recv(4096)
        assert b"second" in seen


def test_requests_on_one_connection_are_answered_in_order(routed: Proxy) -> None:
    one = b"GET /%d HTTP/1.1\r\nHost: a.test\r\nX-N: %d\r\n\r\n"
    answer = routed.raw(b"".join(one % (n, n) for n in range(5)))
    assert [answer.index(b"X-N: %d" % n) for n in range(5)] == sorted(answer.index(b"X-N: %d" % n) for n in range(5))
    assert answer.count(b"HTTP/1.1 200") == 5


def test_websockets_are_tunnelled_and_h2c_is_not_passed_on(routed: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", routed.port), 10) as sock:
        sock.sendall(
            b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        seen = b""
        while b"\r\n\r\n" not in seen:
            seen += sock.recv(4096)
        assert seen.startswith(b"HTTP/1.1 101")
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in seen
        for size in (1, 100_000):
            sock.sendall(b"x" * size)
            got = 0
            while got < size:
                got += len(sock.recv(65536))
    assert "Upgrade" not in routed.get("/", Connection="Upgrade", Upgrade="h2c").text


def test_what_has_no_answer_gets_a_page_that_helps(proxy: Proxy, backend: str) -> None:
    stopped = contract.Route("s.test", "/", (), {"unavailable": "stopped"})
    proxy.publish(stopped, route("dead.test", f"127.0.0.1:{free_port()}"), route("cut.test", backend))
    assert proxy.get(host="none.test").status == 404
    assert "none.test" in proxy.get(host="none.test").text
    page = proxy.get(host="s.test", Accept="text/html")
    assert (page.status, "Start" in page.text) == (503, True)
    assert page.headers["content-type"].startswith("text/html")
    assert proxy.get(host="dead.test").status == 502
    evil = proxy.raw(b"GET / HTTP/1.1\r\nHost: a'b\r\nAccept: text/html\r\nConnection: close\r\n\r\n")
    assert b"a'b" not in evil
    half = proxy.raw(b"GET /cut HTTP/1.1\r\nHost: cut.test\r\n\r\n")
    assert half.endswith(b"half"), "a cut answer must not look whole"


def test_another_backend_takes_over_when_one_refuses(proxy: Proxy, backend: str) -> None:
    proxy.publish(route("two.test", f"127.0.0.1:{free_port()}", backend))
    assert {proxy.get(host="two.test").status for _ in range(6)} == {200}


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\nHost: a.test\n\n",
        b"GET / HTTP/1.1\r\nHost: a.test\r\nHost: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\nxx\r\n",
        b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n",
    ],
)
def test_smuggling_is_refused(routed: Proxy, request_bytes: bytes) -> None:
    answer = routed.raw(request_bytes + b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1


def test_publishing_the_same_makes_no_new_generation(proxy: Proxy, backend: str) -> None:
    first = proxy.publish(route("a.test", backend))
    assert proxy.publish(route("a.test", backend)) == first
    assert proxy.publish(route("b.test", backend)) == first + 1


def test_a_backend_that_left_drains_and_is_cut_when_overdue(routed: Proxy, backend: str) -> None:
    answers: list[int] = []
    waiting = threading.Thread(target=lambda: answers.append(fetch(routed.port, "/wait", host="a.test").status))
    waiting.start()
    wait_for(lambda: any(s.in_flight for s in states(routed)), what="the request to be in flight")
    generation = routed.publish(route("b.test", f"127.0.0.1:{free_port()}"))
    assert routed.worker()[1] < generation
    assert "draining" in {s.health for s in states(routed)}
    wait_for(lambda: routed.worker()[1] >= generation, 10, "the overdue request to be cut")
    waiting.join(10)
    assert answers == [504]


def states(proxy: Proxy) -> list[contract.BackendState]:
    state = contract.open_state(proxy.state)
    try:
        return contract.backend_states(state)
    finally:
        state.close()


def test_it_serves_on_when_its_files_go_or_break(routed: Proxy) -> None:
    for break_it in (routed.routes.unlink, lambda: routed.routes.write_bytes(b"no database" * 1000)):
        break_it()
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            assert routed.get().status == 200
    routed.routes.unlink()
    for leftover in ("routes.db-wal", "routes.db-shm"):
        (routed.folder / leftover).unlink(missing_ok=True)
    routed.publish(route("new.test", "127.0.0.1:1"))
    assert routed.get(host="new.test").status == 502


def test_sigterm_lets_a_request_finish(routed: Proxy) -> None:
    answers: list[Answer] = []
    asking = threading.Thread(target=lambda: answers.append(routed.get("/wait")))
    asking.start()
    wait_for(lambda: any(s.in_flight for s in states(routed)), what="the request to be in flight")
    routed.process.send_signal(signal.SIGTERM)
    threading.Timer(0.3, Backend.gate.set).start()
    asking.join(10)
    assert [answer.text for answer in answers] == ["waited"]
    assert routed.process.wait(8) == 0
    assert routed.worker() == (0, 0)


def test_the_certificate_is_that_of_the_name_asked_for(proxy: Proxy, backend: str, tmp_path: Path) -> None:
    chain, key = certificate(tmp_path, "named.test")
    files = contract.CertificateFiles("named.test", str(chain), str(key))
    broken = contract.CertificateFiles("broken.test", "/nowhere.pem", "/nowhere.key")
    proxy.publish(route("named.test", backend), certificates=(files, broken))
    assert "X-Forwarded-Proto: https" in over_tls(proxy, "named.test")[1]
    assert over_tls(proxy, "named.test")[0] == ssl.PEM_cert_to_DER_cert(chain.read_text())
    default = ssl.PEM_cert_to_DER_cert((proxy.folder / "default.test.pem").read_text())
    assert over_tls(proxy, "other.test")[0] == default
    assert over_tls(proxy, "broken.test")[0] == default


def over_tls(proxy: Proxy, name: str) -> tuple[bytes | None, str]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", proxy.tls_port), 10) as plain,
        context.wrap_socket(plain, server_hostname=name) as sock,
    ):
        sock.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        presented = sock.getpeercert(binary_form=True)
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
        return presented, answer.decode()


def test_an_acme_challenge_is_answered_whatever_the_host(routed: Proxy) -> None:
    assert routed.get("/.well-known/acme-challenge/tok", host="x.test").text == "tok.thumb"
    assert routed.get("/.well-known/acme-challenge/no", host="x.test").status == 404


def test_a_port_that_is_taken_is_one_sentence(proxy: Proxy, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "proxy", "--routes", str(tmp_path / "r"), "--state", str(tmp_path / "s")]
    argv += ["--host", "127.0.0.1", "--http-port", str(proxy.port)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 1
    assert done.stderr.startswith(f"proxy: cannot listen on 127.0.0.1 port {proxy.port}")
    assert "Traceback" not in done.stderr
