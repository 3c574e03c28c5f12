"""The frozen values that the stages hand on; nothing here knows the database."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rivetr.runtimes.base import LABEL_APP, LABEL_DEPLOYMENT, LABEL_INSTANCE, Container, Image, Limits


@dataclass(frozen=True, slots=True)
class Plan:
    """A deployment with every decision taken.

    `image` is there when the deployment brings a release back (rollback, restart) and nothing is
    cloned or built. `replaced` are the containers that serve until the switch.
    """

    deployment_id: str
    app_id: str
    app_name: str
    instance_id: str
    git_url: str
    ref: str
    dockerfile: str
    port: int
    healthcheck: str | None
    env: Mapping[str, str]
    limits: Limits
    replicas: int
    checkout: Path
    image: Image | None = None
    replaced: tuple[str, ...] = ()

    @property
    def network(self) -> str:
        return f"rivetr-{self.app_id[:13]}"

    @property
    def labels(self) -> dict[str, str]:
        return {
            LABEL_INSTANCE: self.instance_id,
            LABEL_APP: self.app_name,
            LABEL_DEPLOYMENT: self.deployment_id,
        }

    @property
    def image_labels(self) -> dict[str, str]:
        """One that never changes: each label is a step of its own, and one that differs would defeat the cache."""
        return {LABEL_INSTANCE: self.instance_id}

    @property
    def image_tag(self) -> str:
        return f"rivetr/{self.app_name}:{self.deployment_id[:13]}"


@dataclass(frozen=True, slots=True)
class Source:
    """Code at a commit, in a folder."""

    path: Path
    commit_sha: str
    commit_message: str


@dataclass(frozen=True, slots=True)
class HealthyBackend:
    """A container that answered, and the address (`host:port`) at which it did."""

    container: Container
    address: str
