"""Stage 3: an image from the source, as many builds at a time as the settings allow."""

import fcntl
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rivetr import builders, config
from rivetr.engine.pipeline.plan import Plan, Source
from rivetr.errors import BuildFailed
from rivetr.runtimes.base import BuildSpec, Image, Limits, Log, Runtime
from rivetr.specs import quantities


def build(plan: Plan, source: Source, runtime: Runtime, log: Log) -> Image:
    """Build the image with the first builder that recognises the source. Raises `BuildFailed`."""
    settings = config.current().build
    spec = BuildSpec(
        context=source.path,
        dockerfile=plan.dockerfile,
        tag=plan.image_tag,
        labels=plan.image_labels,
        limits=Limits(quantities.cpus(settings.cpu_limit), quantities.memory_bytes(settings.memory_limit)),
    )
    builder = builders.detect(spec)
    with _build_slot(settings.concurrency, log), _time_limit(settings.timeout):
        return builder.build(spec, runtime, log)


@contextmanager
def _build_slot(slots: int, log: Log) -> Iterator[None]:
    """Hold one of `slots` lock files; the kernel lets go of it however this process ends."""
    said = False
    while True:
        for number in range(slots):
            with (config.current().locks / f"build-{number}.lock").open("w") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                yield
                return
        if not said:
            log("Waiting for another build to end.")
            said = True
        time.sleep(0.1)


@contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
    def too_long(*_: object) -> None:
        raise BuildFailed(
            f"The build took longer than {seconds} seconds and was ended: make it faster, or raise build.timeout."
        )

    previous = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
