"""Rules of the code base that no linter knows."""

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from rivetr import bootstrap, config
from rivetr.migrate import alembic_config

ROOT = bootstrap.ROOT
SOURCES = sorted(
    path
    for folder in ("rivetr", "proxy", "migrations", "tests", "bench", "scripts")
    for path in (ROOT / folder).rglob("*.py")
)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_source_file_has_at_most_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if path.parts[len(ROOT.parts)] in ("rivetr", "proxy")], ids=lambda path: path.name
)
def test_a_function_has_at_most_50_lines(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 50, node.name


def test_every_setting_is_documented_with_its_default() -> None:
    documented = dict(re.findall(r"^\| `([a-z_.]+)` \| `([^`]*)` \|", (ROOT / "docs/settings.md").read_text(), re.M))
    settings = config.Settings()
    for section in config.SECTIONS:
        for field in fields(getattr(settings, section)):
            value = getattr(getattr(settings, section), field.name)
            shown = {True: "true", False: "false"}.get(value) if isinstance(value, bool) else None
            wanted = shown or (f'"{value}"' if isinstance(value, str) else str(value).replace("'", '"'))
            assert documented.pop(f"{section}.{field.name}") == wanted
    assert not documented


def test_the_newest_migration_is_the_one_that_processes_wait_for(tmp_path: Path) -> None:
    script = ScriptDirectory.from_config(alembic_config(tmp_path / "x.db"))
    assert script.get_current_head() == bootstrap.SCHEMA_HEAD


def test_no_page_asks_another_host_for_anything() -> None:
    for path in (ROOT / "templates").rglob("*.html"):
        assert not re.search(r"""(?:src|href|action)=["'](?:https?:)?//""", path.read_text()), path
