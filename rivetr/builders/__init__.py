"""From source to image: the builders in the order in which they are asked whether they know the source."""

from rivetr.builders.base import Builder
from rivetr.builders.dockerfile import DockerfileBuilder
from rivetr.errors import BuildFailed
from rivetr.runtimes.base import BuildSpec

BUILDERS: tuple[Builder, ...] = (DockerfileBuilder(),)


def detect(spec: BuildSpec) -> Builder:
    """The first builder that recognises the source. Raises `BuildFailed` with what to add when none does."""
    for builder in BUILDERS:
        if builder.detect(spec):
            return builder
    raise BuildFailed(
        f"There is no '{spec.dockerfile}' in the repository: add a Dockerfile, "
        "or set the app's 'dockerfile' to where it is."
    )
