"""What a successful build leaves: a Release row that a rollback can bring back; a failed attempt's goes again."""

import contextlib

from rivetr.db import transaction
from rivetr.engine.pipeline.plan import Plan, Source
from rivetr.engine.pipeline.validate import ROLLBACK_SETTINGS
from rivetr.errors import RuntimeFailed
from rivetr.models import App, Deployment, Release
from rivetr.runtimes.base import Image, Runtime


def record_release(plan: Plan, source: Source, image: Image) -> None:
    """Keep the image with the commit, environment and settings it was made with."""
    with transaction() as rows:
        app = rows.get_one(App, plan.app_id)
        release = Release(
            app_id=plan.app_id,
            image_ref=image.ref,
            image_digest=image.digest,
            commit_sha=source.commit_sha,
            commit_message=source.commit_message,
            settings={name: getattr(app, name) for name in ROLLBACK_SETTINGS},
        )
        release.set_env(plan.app_id, dict(plan.env))
        rows.add(release)
        rows.flush()
        rows.get_one(Deployment, plan.deployment_id).release_id = release.id


def withdraw_release(plan: Plan, runtime: Runtime) -> None:
    """Remove the release and image that a deployment made which then failed: nobody may roll back to it."""
    with transaction() as rows:
        deployment = rows.get_one(Deployment, plan.deployment_id)
        release = deployment.release
        deployment.release_id = None
        if release is not None:
            rows.delete(release)
    # An engine that is away keeps the image; it carries our label.
    with contextlib.suppress(RuntimeFailed):
        runtime.remove_image(plan.image_tag)
