"""Make sure that the engine has the images our example and tests start from; where none can be pulled, make them.

The stand-in for busybox is Debian's statically linked busybox, imported as an image of one layer.
"""

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import docker
from docker.errors import APIError, ImageNotFound

NAME = "busybox"
PULL_SECONDS = 60
FOLDERS = ("bin", "etc", "root", "tmp", "usr", "usr/bin", "var")


def main() -> None:
    """Pull busybox, or make it."""
    client = docker.APIClient(base_url=f"unix://{_socket()}", version="auto", timeout=PULL_SECONDS)
    try:
        client.inspect_image(f"{NAME}:latest")
    except ImageNotFound:
        if not _pulled(client):
            print(f"==> The image {NAME} cannot be pulled here: making one from Debian's busybox-static")
            with tempfile.TemporaryDirectory() as folder:
                _import(client, _static_busybox(Path(folder)))


def _socket() -> str:
    return os.environ.get("RIVETR_RUNTIME__DOCKER_SOCKET", "/var/run/docker.sock")


def _pulled(client: "docker.APIClient") -> bool:
    print(f"==> Pulling the image {NAME}")
    try:
        client.pull(NAME, tag="latest")
        client.inspect_image(f"{NAME}:latest")
    except (APIError, OSError):
        return False
    return True


def _static_busybox(folder: Path) -> Path:
    """The program out of Debian's package, which needs neither root nor installing."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-qq"], check=True)
    subprocess.run(["apt-get", "download", "-qq", "busybox-static"], cwd=folder, check=True, stderr=subprocess.DEVNULL)
    (package,) = folder.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", str(package), str(folder / "files")], check=True)
    return next(path for path in (folder / "files").rglob("busybox") if path.is_file() and os.access(path, os.X_OK))


def _import(client: "docker.APIClient", program: Path) -> None:
    applets = subprocess.run([str(program), "--list"], check=True, capture_output=True, text=True).stdout.split()
    changes = ["ENV PATH=/bin:/usr/bin", 'CMD ["sh"]']
    client.import_image_from_data(_layer(program, applets), repository=NAME, tag="latest", changes=changes)


def _layer(program: Path, applets: list[str]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name in FOLDERS:
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(member)
        tar.add(program, "bin/busybox")
        for applet in applets:
            if applet != "busybox":
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
    return content.getvalue()


if __name__ == "__main__":
    main()
