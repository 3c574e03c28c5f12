"""Everything that runs later: Huey takes these names off its queue, the engine does the work."""

from rivetr.engine import spawn
from rivetr.queue import task


@task
def deploy(deployment_id: str) -> None:
    """Run a deployment in a process of its own."""
    spawn.run("deploy", deployment_id)


@task
def stop_app(app_id: str) -> None:
    """Stop an app's containers and say so at its address."""
    spawn.run("stop-app", app_id)


@task
def remove_app(app_id: str) -> None:
    """Remove all that an app has in the engine, then its rows."""
    spawn.run("remove-app", app_id)
