"""Who owns which host name: one owner each, whether it is an app's domain, its default name, or a route by hand."""

from urllib.parse import urlsplit

from sqlalchemy import select

from rivetr import config
from rivetr.db import session
from rivetr.errors import Conflict
from rivetr.models import App, Domain, ManualRoute


def claim(hosts: list[str], app_id: str | None, field: str = "domain") -> None:
    """Make sure that nobody else owns any of `hosts`. Raises `Conflict`.

    Called inside the transaction that takes them, so that of two callers one is refused.
    """
    for host in hosts:
        owner = _owner(host, app_id)
        if owner:
            raise Conflict(f"{host} is taken by {owner}: choose another name, or free it there first.", {field: owner})


def _owner(host: str, app_id: str | None) -> str | None:
    settings = config.current()
    if host == (urlsplit(settings.dashboard_url).hostname or ""):
        return "the dashboard"
    domain = session().scalar(select(Domain).where(Domain.host == host))
    if domain and domain.app_id != app_id:
        return "another app"
    name, _, parent = host.partition(".")
    if parent == settings.proxy.base_domain:
        other = session().scalar(select(App).where(App.name == name))
        if other and other.id != app_id and not other.domains:
            return "another app"
    if app_id is not None and session().scalar(select(ManualRoute).where(ManualRoute.domain == host)):
        return "a route made by hand"
    return None


def replace(app: App, hosts: list[str]) -> None:
    """Make `hosts` the app's domains, the first one its main one. Raises `Conflict`."""
    claim(hosts or [f"{app.name}.{config.current().proxy.base_domain}"], app.id, "domain" if hosts else "name")
    kept = {domain.host: domain for domain in app.domains}
    app.domains = [kept.get(host) or Domain(host=host) for host in hosts]
    for position, domain in enumerate(app.domains):
        domain.position = position
