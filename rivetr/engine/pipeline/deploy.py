"""Stage 4: the new containers start beside the old ones, on the app's own network, published nowhere."""

from rivetr.engine.pipeline.plan import Plan
from rivetr.errors import DeployFailed, RuntimeFailed, RuntimeUnavailable
from rivetr.runtimes.base import LABEL_DEPLOYMENT, LABEL_INSTANCE, Container, Image, Log, RunSpec, Runtime


def deploy(plan: Plan, image: Image, runtime: Runtime, log: Log) -> list[Container]:
    """Start the plan's replicas. Raises `DeployFailed`."""
    if not runtime.has_image(image.ref):
        raise DeployFailed(f"The image {image.ref} is not there any more: deploy the commit anew instead.")
    runtime.ensure_network(plan.network, {LABEL_INSTANCE: plan.instance_id})
    return [_start(plan, image, number, runtime, log) for number in range(plan.replicas)]


def _start(plan: Plan, image: Image, number: int, runtime: Runtime, log: Log) -> Container:
    spec = RunSpec(
        name=f"rivetr-{plan.app_name[:40]}-{plan.deployment_id[:8]}-{number}",
        image=image.ref,
        network=plan.network,
        env={"PORT": str(plan.port), **plan.env},
        labels=plan.labels,
        limits=plan.limits,
    )
    try:
        container = runtime.run(spec)
    except RuntimeUnavailable:
        raise
    except RuntimeFailed as error:
        raise DeployFailed(f"The container could not be started: {error.message}") from error
    # A container that ended at once has no address any more.
    log(f"Started {spec.name} ({container.id[:12]})" + (f" at {container.address}" if container.address else ""))
    return container


def remove_containers(plan: Plan, runtime: Runtime) -> None:
    """Remove every container of this deployment, started or half made."""
    labels = {LABEL_INSTANCE: plan.instance_id, LABEL_DEPLOYMENT: plan.deployment_id}
    try:
        for container in runtime.containers(labels):
            runtime.remove(container.id)
    except RuntimeUnavailable:
        # Nothing can be removed from an engine that is away; reconciling does it when it is back.
        return
