"""`token create`, `user create`: made in this machine's own database, by whoever may read its key."""

import sys
from datetime import UTC, datetime, timedelta

import click

from rivetr.actor import SCOPES
from rivetr.cli.output import json_option, note, say, say_json

_LONGEST_DAYS = 36500


@click.group(help="API tokens of this machine's instance.")
def token() -> None:
    pass


@token.command("create", help="Make an API token NAME; its secret is printed this once, alone on standard output.")
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, type=click.Choice(SCOPES), help="May be repeated; read unless given.")
@click.option("--expires-in", type=click.IntRange(1, _LONGEST_DAYS), metavar="DAYS", help="For ever unless given.")
@json_option
def create_token(name: str, scopes: tuple[str, ...], expires_in: int | None, as_json: bool) -> None:
    from rivetr.actor import CONSOLE
    from rivetr.services import tokens
    from rivetr.specs.parsing import parse
    from rivetr.specs.token import TokenSpec

    _open_database()
    expires_at = datetime.now(UTC) + timedelta(days=expires_in) if expires_in else None
    asked = {"name": name, "scopes": list(scopes or ("read",))}
    if expires_at:
        asked["expires_at"] = expires_at.isoformat()
    made, secret = tokens.create(CONSOLE, parse(TokenSpec(), asked))
    until = expires_at.strftime("%Y-%m-%dT%H:%M:%SZ") if expires_at else None
    if as_json:
        say_json({"id": made.id, "name": made.name, "scopes": made.scopes, "token": secret, "expires_at": until})
        return
    note(f"Token '{made.name}' ({', '.join(made.scopes)}{', until ' + until if until else ''}), shown this once:")
    say(secret)


@click.group(help="Accounts of this machine's instance.")
def user() -> None:
    pass


@user.command("create", help="Make an account for EMAIL; asks for its password twice.")
@click.argument("email")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input, for scripts.")
@json_option
def create_user(email: str, password_stdin: bool, as_json: bool) -> None:
    from rivetr.actor import CONSOLE
    from rivetr.services import users
    from rivetr.specs.parsing import parse
    from rivetr.specs.user import AccountSpec

    values = parse(AccountSpec(), {"email": email, "password": _password(password_stdin)})
    _open_database()
    made = users.create(CONSOLE, values)
    if as_json:
        say_json({"id": made.id, "email": made.email})
    else:
        say(f"Made an account for {made.email}.")


def _password(is_piped: bool) -> str:
    if is_piped:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask for a password: use --password-stdin.")
    entered: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return entered


def _open_database() -> None:
    from rivetr import bootstrap, config

    bootstrap.start(config.load(), with_database=True)
