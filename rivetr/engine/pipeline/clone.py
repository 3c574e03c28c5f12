"""Stage 2: the source at the wanted commit, in a folder of its own."""

from rivetr import config
from rivetr.engine.pipeline.plan import Plan, Source
from rivetr.git.clone import CloneRequest
from rivetr.git.clone import clone as git_clone
from rivetr.runtimes.base import Log

TIMEOUT_SECONDS = 600


def clone(plan: Plan, log: Log) -> Source:
    """Fetch the plan's branch, tag or commit. Raises `CloneFailed`."""
    settings = config.current()
    log(f"Fetching {plan.ref} of {plan.git_url}")
    checkout = git_clone(
        CloneRequest(plan.git_url, plan.ref, plan.checkout, settings.git, settings.examples, TIMEOUT_SECONDS), log
    )
    log(f"Checked out {checkout.commit_sha[:12]} {checkout.commit_message}")
    return Source(checkout.path, checkout.commit_sha, checkout.commit_message)
