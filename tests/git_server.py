"""Git repositories for tests: made with the real git, served over HTTP by git's own http-backend."""

import os
import subprocess
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Test",
    "GIT_AUTHOR_EMAIL": "test@localhost",
    "GIT_COMMITTER_NAME": "Test",
    "GIT_COMMITTER_EMAIL": "test@localhost",
}

HTTPD = 'FROM busybox:latest\nCOPY www /www\nCMD ["httpd", "-f", "-p", "3000", "-h", "/www"]\n'


def git(folder: Path, *arguments: str) -> str:
    """Run git in `folder` and give what it prints."""
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env={**os.environ, **_ENVIRONMENT}, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


class Repository:
    """A repository on disk; `files` is its first commit on `main`."""

    def __init__(self, folder: Path, files: Mapping[str, str]) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        git(folder, "init", "--quiet", "--initial-branch=main")
        self.commit(files, "First")

    def commit(self, files: Mapping[str, str], message: str) -> str:
        """Write `files`, commit them, give the commit's id."""
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        git(self.folder, "add", "--all")
        git(self.folder, "commit", "--quiet", "--allow-empty", "--message", message)
        return git(self.folder, "rev-parse", "HEAD")

    @property
    def file_url(self) -> str:
        return f"file://{self.folder}"


def web_app(page: str, **more: str) -> dict[str, str]:
    """The files of a small web app that answers `page` at / and ok at /health."""
    return {"Dockerfile": HTTPD, "www/index.html": page, "www/health": "ok", **more}


class GitServer:
    """Serves the repositories below `root` at http://127.0.0.1:PORT/NAME/.git."""

    def __init__(self, root: Path) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(root))
        Thread(target=self._server.serve_forever, daemon=True).start()

    def url(self, repository: Repository) -> str:
        """The address at which a repository is served."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/{repository.folder.name}/.git"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def _handler(root: Path) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def do_GET(self) -> None:
            self._run(b"")

        def do_POST(self) -> None:
            self._run(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

        def _run(self, body: bytes) -> None:
            # RFC 3875 (CGI) is what http-backend speaks.
            parts = urlsplit(self.path)
            environment = {
                **os.environ,
                "GIT_PROJECT_ROOT": str(root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "PATH_INFO": parts.path,
                "QUERY_STRING": parts.query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type") or "",
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or "",
                "GIT_PROTOCOL": self.headers.get("Git-Protocol") or "",
            }
            done = subprocess.run(
                ["git", "http-backend"], input=body, env=environment, check=False, capture_output=True
            )
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            lines = [line.split(b": ", 1) for line in head.split(b"\r\n") if b": " in line]
            fields = {name.decode(): value.decode() for name, value in lines}
            self.send_response(int(fields.pop("Status", "200").split()[0]))
            for name, value in fields.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    return Handler
