"""An app's traffic on its page."""

from datetime import UTC, datetime
from typing import Any

from flask.typing import ResponseReturnValue

from rivetr.models import App
from rivetr.services import apps, traffic
from rivetr.web import blueprint, charts, htmx
from rivetr.web.session import actor


@blueprint.get("/apps/<name>/traffic")
def show_traffic(name: str) -> ResponseReturnValue:
    app = apps.get(actor(), name)
    context = {"app": app, "state": apps.state(app), "url": apps.url(app), **panel(app)}
    return htmx.render("apps/traffic.html", "apps/_traffic.html", **context)


def panel(app: App) -> dict[str, Any]:
    """What `apps/_traffic.html` shows beside the app itself."""
    found = traffic.panel(actor(), app)
    return {
        "traffic": found,
        "peak": charts.peak([point.requests for point in found.points]),
        "bars": charts.bars([(point.requests, point.errors) for point in found.points]),
        "latency": charts.lines([[point.latency[line] for point in found.points] for line in range(3)]),
    }


@blueprint.app_template_filter()
def duration(seconds: float | None) -> str:
    """Seconds in the unit and with the digits that a reader needs."""
    if seconds is None:
        return "–"
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


@blueprint.app_template_filter()
def share(part: float | None) -> str:
    """A share as percent; what is little but not nothing is not rounded away."""
    if part is None:
        return "–"
    return f"{part:.1%}".replace("%", " %") if part == 0 or part >= 0.001 else "< 0.1 %"


@blueprint.app_template_filter()
def rate(number: float) -> str:
    """A number of a second, to two digits that count."""
    return f"{number:.0f}" if number >= 10 or number == 0 else f"{number:.2g}"


@blueprint.app_template_filter()
def clock(minute: int) -> str:
    """The time of day (UTC) at which a minute began."""
    return datetime.fromtimestamp(minute * 60, UTC).strftime("%H:%M")
