"""Stage 1: rows become a Plan; everything that can be decided is decided here."""

from sqlalchemy import select

from rivetr import config
from rivetr.db import session
from rivetr.engine.pipeline.plan import Plan
from rivetr.errors import InvalidPlan
from rivetr.models import App, Deployment, Release, Setting
from rivetr.runtimes.base import Image, Limits
from rivetr.specs import quantities

# A rollback brings these back as they were; a restart takes the image only.
ROLLBACK_SETTINGS = ("port", "healthcheck", "cpu_limit", "memory_limit", "replicas")


def validate(deployment_id: str) -> Plan:
    """Decide what is to run. Raises `InvalidPlan` when there is nothing to run."""
    deployment = session().get_one(Deployment, deployment_id)
    app = session().get_one(App, deployment.app_id)
    settings = {name: getattr(app, name) for name in ROLLBACK_SETTINGS}
    env = {variable.key: variable.value for variable in app.env_vars}
    if deployment.trigger == "rollback" and deployment.release:
        settings |= deployment.release.settings
        env = deployment.release.env
    if deployment.trigger in ("rollback", "restart") and deployment.release is None:
        raise InvalidPlan("There is no release to bring back: deploy the app first.")
    plan = Plan(
        deployment_id=deployment.id,
        app_id=app.id,
        app_name=app.name,
        instance_id=session().get_one(Setting, "instance_id").value,
        git_url=app.git_url,
        ref=deployment.ref,
        dockerfile=app.dockerfile,
        port=settings["port"],
        healthcheck=settings["healthcheck"],
        env=env,
        limits=Limits(quantities.cpus(settings["cpu_limit"]), quantities.memory_bytes(settings["memory_limit"])),
        replicas=settings["replicas"],
        checkout=config.current().checkouts / deployment.id,
        image=_image(deployment.release),
        replaced=_serving(app),
    )
    session().commit()
    return plan


def _image(release: Release | None) -> Image | None:
    return Image(release.image_ref, release.image_digest) if release else None


def _serving(app: App) -> tuple[str, ...]:
    live = session().scalar(select(Deployment).where(Deployment.id == app.live_deployment_id))
    return tuple(backend["container_id"] for backend in live.backends) if live else ()
