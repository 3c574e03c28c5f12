"""`rivetr doctor`: what is missing on this machine and how to mend it. It looks and changes nothing."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict

import click

from rivetr import config
from rivetr.cli.checks.finding import Finding, ok, problem
from rivetr.cli.output import json_option, safe, say, say_json, say_marked
from rivetr.errors import Misconfigured

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}
Check = Callable[[config.Settings], Iterator[Finding]]


@click.command(help="Check this machine and say how to mend what is missing. Exit status 1 if there is a problem.")
@json_option
def doctor(as_json: bool) -> None:
    findings = []
    for finding in _findings():
        findings.append(finding)
        if not as_json:
            _show(finding)
    problems = sum(finding.level == "problem" for finding in findings)
    if as_json:
        say_json({"ok": not problems, "checks": [asdict(finding) for finding in findings]})
    elif problems:
        say(f"\n{problems} problem{'s' if problems > 1 else ''}: mend what is marked, then ask the doctor again.")
    else:
        say("\nNo problems.")
    sys.exit(1 if problems else 0)


def _show(finding: Finding) -> None:
    say_marked(f"{finding.level:<8}", _COLOURS[finding.level], f"{finding.name}: {finding.message}")
    if finding.mend:
        say("\n".join(f"           {line}" for line in safe(finding.mend).split("\n")))


def _findings() -> Iterator[Finding]:
    try:
        settings = config.load()
    except Misconfigured as error:
        yield problem("settings", error.message, "Mend that first: the other checks need the settings.")
        return
    config.use(settings)
    chosen = ", ".join(sorted(settings.explicit)) or "none, so the defaults hold"
    yield ok("settings", f"They can be read. Set: {chosen}.")
    for check in _checks():
        yield from _guarded(check, settings)


def _checks() -> list[Check]:
    from rivetr.cli.checks import ports, programs, storage, surroundings

    return [
        storage.data_folder,
        storage.database,
        programs.engine,
        programs.buildkit,
        programs.git,
        ports.ports,
        surroundings.base_domain,
        surroundings.clock,
        surroundings.processes,
    ]


def _guarded(check: Check, settings: config.Settings) -> Iterator[Finding]:
    try:
        yield from check(settings)
    except Exception as error:
        # One look that goes wrong must not hide what the others see.
        name = getattr(check, "__name__", "check").replace("_", " ")
        yield problem(name, f"This could not be checked ({type(error).__name__}: {error}).", "Report it, please.")
