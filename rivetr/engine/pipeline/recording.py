"""What is written down of a running deployment: its claim, its stages, and how it ended."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import delete, exists, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import aliased

from rivetr.db import now, session, transaction
from rivetr.engine.pipeline.journal import Journal
from rivetr.engine.pipeline.plan import Source
from rivetr.errors import Cancelled, OutsideError, RivetrError, StageFailed
from rivetr.models import Deployment, DeploymentStage
from rivetr.models.deployment import STAGE_STATUS


def claim(deployment_id: str) -> Deployment | None:
    """Make a pending deployment the running one of its app; None when it is not its turn (or over)."""
    older = aliased(Deployment)
    is_first = ~exists().where(
        older.app_id == Deployment.app_id, older.status == "pending", older.created_at < Deployment.created_at
    )
    mine = (
        update(Deployment)
        .where(Deployment.id == deployment_id, Deployment.status == "pending", is_first)
        .execution_options(synchronize_session=False)
        .values(status=STAGE_STATUS["validate"], started_at=now())
    )
    try:
        with transaction() as rows:
            if rows.execute(mine).rowcount != 1:  # type: ignore[attr-defined]
                return None
            # A run that was broken off and queued anew starts its stages afresh.
            rows.execute(delete(DeploymentStage).where(DeploymentStage.deployment_id == deployment_id))
            for position, name in enumerate(STAGE_STATUS):
                rows.add(DeploymentStage(deployment_id=deployment_id, name=name, position=position))
    except IntegrityError:
        # Another deployment of this app runs (uq_deployments_active); its end queues us again.
        return None
    return session().get(Deployment, deployment_id)


class Recorder:
    """Writes down where one deployment is; the stages get only its `journal.line` as their log."""

    def __init__(self, deployment_id: str, journal: Journal) -> None:
        self.deployment_id = deployment_id
        self.journal = journal

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Run the body as stage `name`: its status, times, and the failure it may end in."""
        self.journal.check_cancelled()
        self.journal.stage = name
        self._set_stage(name, "running")
        try:
            yield
        except BaseException as error:
            self.journal.flush()
            self._set_stage(name, "failed")
            raise _as_stage_failure(name, error) from error
        self.journal.flush()
        self._set_stage(name, "done")

    def skip(self, *names: str) -> None:
        """Write down that these stages are not needed this time."""
        with transaction() as rows:
            for name in names:
                rows.get_one(DeploymentStage, (self.deployment_id, name)).status = "skipped"

    def commit(self, source: Source) -> None:
        """Write down which commit was fetched."""
        with transaction() as rows:
            deployment = rows.get_one(Deployment, self.deployment_id)
            deployment.commit_sha, deployment.commit_message = source.commit_sha, source.commit_message

    def succeeded(self) -> None:
        """End the deployment as the one that serves."""
        with transaction() as rows:
            deployment = rows.get_one(Deployment, self.deployment_id)
            deployment.status, deployment.finished_at = "running", now()

    def _set_stage(self, name: str, status: str) -> None:
        with transaction() as rows:
            stage = rows.get_one(DeploymentStage, (self.deployment_id, name))
            stage.status = status
            if status == "running":
                stage.started_at = now()
                rows.get_one(Deployment, self.deployment_id).status = STAGE_STATUS[name]
            else:
                stage.finished_at = now()

    def failed(self, error: RivetrError) -> None:
        """End the deployment as failed or cancelled, with the sentence that says why."""
        self.journal.line(error.message)
        self.journal.flush()
        finish(self.deployment_id, error)


def finish(deployment_id: str, error: RivetrError) -> None:
    """Write down that a deployment did not make it."""
    with transaction() as rows:
        deployment = rows.get_one(Deployment, deployment_id)
        deployment.status = "cancelled" if isinstance(error, Cancelled) else "failed"
        deployment.error = error.message
        deployment.failed_stage = error.stage if isinstance(error, StageFailed) else None
        deployment.backends = []
        deployment.finished_at = now()


def _as_stage_failure(stage: str, error: BaseException) -> BaseException:
    """The same failure as one that names its stage; what nobody foresaw keeps its own type in the cause."""
    if isinstance(error, Cancelled | StageFailed) or not isinstance(error, Exception):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        message = "The disk is full: free some space on the server and deploy again."
    elif isinstance(error, RivetrError):
        message = error.message
    else:
        message = f"Something unexpected went wrong ({type(error).__name__}: {error}); the worker's log has more."
    failure = StageFailed(message)
    failure.stage = stage
    failure.__suppress_context__ = isinstance(error, OutsideError)
    return failure
