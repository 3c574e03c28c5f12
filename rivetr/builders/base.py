"""What every way of building an image offers."""

from typing import Protocol

from rivetr.runtimes.base import BuildSpec, Image, Log, Runtime


class Builder(Protocol):
    """One way from source to image."""

    def detect(self, spec: BuildSpec) -> bool:
        """Whether this builder knows what to do with the source."""
        ...

    def build(self, spec: BuildSpec, runtime: Runtime, log: Log) -> Image:
        """Build it. Raises `rivetr.errors.BuildFailed`."""
        ...
