"""`python -m rivetr.first_steps`: what a start prints and a first start makes; `rivetr up` runs it and shows it."""

import sys

from sqlalchemy import func, select

from rivetr import bootstrap, config, example
from rivetr.actor import CONSOLE
from rivetr.db import session
from rivetr.errors import RivetrError
from rivetr.models import App
from rivetr.services import apps, deployments, tokens, users
from rivetr.specs.app import AppSpec
from rivetr.specs.parsing import parse


def main() -> int:
    """Print the set-up link while nobody has an account, the admin token once, and make the example once."""
    settings = config.load()
    try:
        bootstrap.start(settings, with_database=True)
        is_first = _is_empty()
        code = users.new_setup_code()
        if code:
            print(f"Set up      {settings.dashboard_url}/setup?code={code}")
        token = tokens.make_admin_token()
        if token:
            print(f"Admin token {token}   (shown this once; kept hashed)")
        if is_first:
            _deploy_example(settings)
    except RivetrError as error:
        print(f"rivetr: {error.message}")
        return 1
    return 0


def _is_empty() -> bool:
    return session().scalar(select(func.count()).select_from(App)) == 0 and not users.any_exists()


def _deploy_example(settings: config.Settings) -> None:
    repository = example.make_repository(settings.examples)
    values = {"name": "hello", "git_url": f"file://{repository}", "port": 3000, "healthcheck": "/health"}
    app = apps.create(CONSOLE, parse(AppSpec(), values))
    deployments.deploy(CONSOLE, app.id, None)
    print(f"Example     {apps.url(app)}   (being deployed now)")


if __name__ == "__main__":
    sys.exit(main())
