"""What a successful build leaves: a Release row that a rollback can bring back."""

from rivetr.db import transaction
from rivetr.engine.pipeline.plan import Plan, Source
from rivetr.engine.pipeline.validate import ROLLBACK_SETTINGS
from rivetr.models import App, Deployment, Release
from rivetr.runtimes.base import Image


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
