"""The chain of stages that brings a version of an app live (docs/architecture.md); each stage has a file."""

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rivetr.engine.pipeline.build import build
from rivetr.engine.pipeline.clone import clone
from rivetr.engine.pipeline.deploy import deploy, remove_containers
from rivetr.engine.pipeline.health import health
from rivetr.engine.pipeline.journal import Journal
from rivetr.engine.pipeline.plan import Plan
from rivetr.engine.pipeline.recording import Recorder, claim
from rivetr.engine.pipeline.releases import record_release, withdraw_release
from rivetr.engine.pipeline.switch import switch
from rivetr.engine.pipeline.validate import validate
from rivetr.errors import RivetrError
from rivetr.runtimes.base import Image, Runtime

_logger = logging.getLogger(__name__)


def run(deployment_id: str, connect: Callable[[], Runtime]) -> None:
    """Bring one deployment live, or end it with a sentence that says why not; the old version is not touched.

    `connect` finds the container engine; that none answers is a failure of the deployment, too.
    """
    deployment = claim(deployment_id)
    if deployment is None:
        return
    with Journal(deployment_id) as journal:
        recorder = Recorder(deployment_id, journal)
        try:
            with recorder.stage("validate"):
                plan = validate(deployment_id)
                runtime = connect()
            with removed_on_failure(plan, runtime):
                image = plan.image or _build(plan, recorder, runtime)
                _bring_live(plan, image, recorder, runtime)
        except RivetrError as error:
            if error.__cause__ is not None and not isinstance(error.__cause__, RivetrError | OSError):
                _logger.exception("Deployment %s failed", deployment_id)
            recorder.failed(error)


def _build(plan: Plan, recorder: Recorder, runtime: Runtime) -> Image:
    log = recorder.journal.line
    try:
        with recorder.stage("clone"):
            source = clone(plan, log)
            recorder.commit(source)
        with recorder.stage("build"):
            image = build(plan, source, runtime, log)
            record_release(plan, source, image)
        return image
    finally:
        shutil.rmtree(plan.checkout, ignore_errors=True)


def _bring_live(plan: Plan, image: Image, recorder: Recorder, runtime: Runtime) -> None:
    journal = recorder.journal
    if plan.image:
        recorder.skip("clone", "build")
        journal.line(f"Using the image {image.ref} that was built before.")
    with recorder.stage("deploy"):
        containers = deploy(plan, image, runtime, journal.line)
    with recorder.stage("health"):
        backends = health(plan, containers, runtime, journal.line)
    with recorder.stage("switch"):
        switch(plan, backends, runtime, journal)
    recorder.succeeded()


@contextmanager
def removed_on_failure(plan: Plan, runtime: Runtime) -> Iterator[None]:
    """What a failed attempt made goes: its containers, its image, its checkout. The old ones were never touched."""
    try:
        yield
    except BaseException:
        remove_containers(plan, runtime)
        if plan.image is None:
            withdraw_release(plan, runtime)
        shutil.rmtree(plan.checkout, ignore_errors=True)
        raise
