"""Builds what the repository's own Dockerfile says."""

from rivetr.runtimes.base import BuildSpec, Image, Log, Runtime


class DockerfileBuilder:
    """Knows sources that have the Dockerfile which the app names."""

    def detect(self, spec: BuildSpec) -> bool:
        """Whether the file is there; that it lies inside the source is the runtime's check."""
        return (spec.context / spec.dockerfile).is_file()

    def build(self, spec: BuildSpec, runtime: Runtime, log: Log) -> Image:
        """Hand the folder to the engine."""
        log(f"Building {spec.tag} from {spec.dockerfile}")
        return runtime.build(spec, log)
