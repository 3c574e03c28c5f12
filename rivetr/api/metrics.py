"""/metrics, for Prometheus and what reads the same text.

The format is Prometheus' text format 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats). Writing it
takes these few lines; the prometheus-client package would cost the web process 2.4 MB.
"""

from collections.abc import Iterable, Iterator

from flask import Response

from rivetr.api import public
from rivetr.api.auth import actor
from rivetr.api.operation import operation
from rivetr.services import metrics
from rivetr.services.metrics import Family, Sample

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@public.get("/metrics")
@operation("Figures for Prometheus; needs the scope read unless metrics.public is set")
def read_metrics() -> Response:
    caller = None if metrics.is_public() else actor()
    return Response(render(metrics.collect(caller)), content_type=CONTENT_TYPE)


def render(families: Iterable[Family]) -> str:
    """The families as text, each with its help and kind before its figures."""
    return "".join(f"{line}\n" for family in families for line in _lines(family))


def _lines(family: Family) -> Iterator[str]:
    yield f"# HELP {family.name} {_escaped(family.help)}"
    yield f"# TYPE {family.name} {family.kind}"
    for sample in family.samples:
        yield f"{family.name}{sample.suffix}{_labels(sample)} {sample.value!r}"


def _labels(sample: Sample) -> str:
    pairs = [f'{name}="{_quoted(value)}"' for name, value in sample.labels.items()]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', r"\"")
