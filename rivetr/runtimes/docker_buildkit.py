"""An image out of a folder, with the engine's BuildKit, for Dockerfiles that the classic builder refuses.

BuildKit speaks gRPC over a hijacked connection; the docker command line knows how to, so it is our client.
"""

import codecs
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from rivetr import shell
from rivetr.errors import BuildFailed
from rivetr.runtimes.base import BuildSpec, Log
from rivetr.runtimes.buildkit_client import client_environment, find_client
from rivetr.runtimes.buildkit_need import BuildKitNeed
from rivetr.runtimes.buildkit_progress import BuildKitProgress
from rivetr.runtimes.context import context_tar
from rivetr.runtimes.lines import LineSplitter


def build_with_buildkit(socket: str, spec: BuildSpec, dockerfile: str, need: BuildKitNeed, log: Log) -> str:
    """Build and give the image's id, `sha256:…`. Raises `BuildFailed`, or whatever `log` raises.

    Leaving early, for whatever reason, kills the command line, upon which the engine stops the build.
    """
    client = find_client(os.environ.get("PATH", ""))
    if client is None:
        raise BuildFailed(
            f"Building needs BuildKit because of {need}, and no docker command line here has it: "
            "install docker-buildx (in Docker's own packages: docker-buildx-plugin), or write that line another way."
        )
    log(f"Building with BuildKit because of {need}; the memory and CPU limits of builds do not hold there.")
    progress = BuildKitProgress(log)
    output = LineSplitter(progress.line)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    with TemporaryDirectory(prefix="rivetr-build-") as folder:
        id_file = Path(folder) / "image"
        argv = build_argv(client, socket, spec, dockerfile, id_file)
        supply = _supply(spec.context, dockerfile)
        status = shell.stream(argv, lambda piece: output.feed(decoder.decode(piece)), supply, client_environment())
        output.finish()
        if status != 0:
            raise BuildFailed(progress.failure(status))
        return _image_id(id_file)


def build_argv(client: str, socket: str, spec: BuildSpec, dockerfile: str, id_file: Path) -> list[str]:
    """The command line; every value is tied to its option by `=`, so none is read as an option itself."""
    argv = [client, f"--host=unix://{socket}", "build", "--progress=plain", f"--iidfile={id_file}"]
    argv += [f"--file={dockerfile}", f"--tag={spec.tag}"]
    argv += [f"--label={name}={value}" for name, value in spec.labels.items()]
    argv += [f"--build-arg={name}={value}" for name, value in spec.args.items()]
    # The context comes on standard input.
    return [*argv, "-"]


def _image_id(file: Path) -> str:
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        raise BuildFailed("BuildKit ended the build without an image: look at its log.") from None


def _supply(context: Path, dockerfile: str) -> Iterator[bytes]:
    # The client tells a tar from a Dockerfile by its first 512 bytes, which must hold a whole entry:
    # one with a long name is longer.
    root = tarfile.TarInfo("./")
    root.type, root.mode = tarfile.DIRTYPE, 0o755
    yield root.tobuf(tarfile.GNU_FORMAT)
    yield from context_tar(context, dockerfile)
