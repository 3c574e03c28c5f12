"""Memory of an idle instance: proportional set size (PSS, smaps_rollup) of each process and in sum.

`make bench-memory`. Measured at rest after the start, right after 500 pages and 3 deployments, and at rest
again: the process that starts deployments ends after a minute without one, which is waited for. PSS counts a page
that n processes share as 1/n of a page in each, so sums are honest.
"""

import argparse
import re
import tempfile
import time
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import HTTPCookieProcessor, OpenerDirector, build_opener

from bench.processes import children, pss_kib
from bench.table import show
from rivetr.forkserver import LINGER_SECONDS
from tests.git_server import Repository, web_app
from tests.instance import Instance, running

GOAL_MB, AIM_MB = 95, 80


def main() -> None:
    """Print PSS in megabytes per process at rest, before and after use."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=500)
    parser.add_argument("--deploys", type=int, default=3)
    parser.add_argument("--rest", type=float, default=LINGER_SECONDS + 10, help="seconds that count as rest")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as instance:
        time.sleep(options.rest)
        before = _measure(instance)
        _use(instance, Repository(Path(folder) / "source", web_app("x")), options.pages, options.deploys)
        used = _measure(instance)
        time.sleep(options.rest)
        columns = (before, used, _measure(instance))
    names = dict.fromkeys(name for column in columns for name in column)
    rows = [[name, *(f"{column[name]:.1f}" if name in column else "" for column in columns)] for name in names]
    rows.append(["sum", *(f"{sum(column.values()):.1f}" for column in columns)])
    use = f"after {options.pages} pages, {options.deploys} deploys"
    show(f"PSS in MB (goal at rest {GOAL_MB}, aim {AIM_MB})", ("process", "at rest", use, "at rest again"), rows)


def _use(instance: Instance, source: Repository, pages: int, deploys: int) -> None:
    instance.create_app("used", source.file_url, healthcheck="/health")
    browser = _sign_in(instance)
    for number in range(deploys):
        source.commit({"www/index.html": str(number)}, f"Page {number}")
        instance.deploy("used")
    for number in range(pages):
        path = ("/", "/apps/used", "/apps/new", "/apps/used/settings")[number % 4]
        with browser.open(f"http://127.0.0.1:{instance.api_port}{path}", timeout=30) as answer:
            assert answer.status == 200
            answer.read()


def _sign_in(instance: Instance) -> OpenerDirector:
    """A browser that followed the set-up link."""
    browser = build_opener(HTTPCookieProcessor(CookieJar()))
    link = instance.setup_link().replace("localhost", "127.0.0.1")
    page = browser.open(link, timeout=30).read().decode()
    token = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert token is not None
    form = {
        "csrf_token": token.group(1),
        "code": parse_qs(urlsplit(link).query)["code"][0],
        "email": "bench@example.com",
        "password": "a long enough phrase",
    }
    browser.open(f"http://127.0.0.1:{instance.api_port}/setup", urlencode(form).encode(), timeout=30).read()
    return browser


def _measure(instance: Instance) -> dict[str, float]:
    """Megabytes by process: the parent and all below it."""
    assert instance.process is not None
    named = {instance.process.pid: "up"}
    for name, pid in instance.children().items():
        named[pid] = name
        for child in children(pid):
            named[child] = f"{name}: {Path(f'/proc/{child}/comm').read_text().strip()}"
    return {name: pss_kib(pid) / 1024 for pid, name in named.items()}


if __name__ == "__main__":
    main()
