"""/metrics through the web application, with what a proxy would have written."""

import os
from collections.abc import Iterator
from contextlib import closing

import pytest
from flask import Flask
from flask.testing import FlaskClient

from proxy import contract
from proxy.contract import BackendState, ProcessState, Traffic
from rivetr import config
from rivetr.api.metrics import render
from rivetr.services.metrics import Family, Sample
from tests.integration.application import administrator, application

BUCKETS = (0, 0, 3, *(0,) * 10, 1, 0, 1)
DEAD = 2**22 + 1


@pytest.fixture(scope="module", params=[False, True], ids=["token", "public"])
def instance(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    public = str(request.param).lower()
    with application(tmp_path_factory.mktemp("data"), metrics__public=public) as app:
        yield app


@pytest.fixture
def client(instance: Flask) -> FlaskClient:
    return instance.test_client() if config.current().metrics.public else administrator(instance)


def test_figures_are_summed_over_live_proxies(client: FlaskClient) -> None:
    settings = config.current()
    with (
        closing(contract.open_state(settings.proxy_database)) as state,
        contract.wake_socket(settings.routes_database),
    ):
        for pid, health in ((os.getpid(), "healthy"), (DEAD, "unhealthy")):
            contract.acknowledge(state, pid, 1, 1)
            contract.report(state, pid, [BackendState(pid, "10.0.0.1:80", health, 0)])
            contract.report_process(state, ProcessState(pid, 7, 2, 99, 1.0))
            contract.report_traffic(state, pid, [Traffic("a.test", "/", 5, (0, 3, 0, 1, 1), 10, 20, 42.5, BUCKETS)])
        answer = client.get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = answer.text.splitlines()
    for line in (
        "# TYPE rivetr_requests_total counter",
        'rivetr_requests_total{host="a.test",path_prefix="/",class="2xx"} 6',
        'rivetr_requests_total{host="a.test",path_prefix="/",class="5xx"} 2',
        "# TYPE rivetr_request_seconds histogram",
        'rivetr_request_seconds_bucket{host="a.test",path_prefix="/",le="0.0025"} 0',
        'rivetr_request_seconds_bucket{host="a.test",path_prefix="/",le="0.005"} 6',
        'rivetr_request_seconds_bucket{host="a.test",path_prefix="/",le="1"} 6',
        'rivetr_request_seconds_bucket{host="a.test",path_prefix="/",le="30"} 8',
        'rivetr_request_seconds_bucket{host="a.test",path_prefix="/",le="+Inf"} 10',
        'rivetr_request_seconds_sum{host="a.test",path_prefix="/"} 85.0',
        'rivetr_request_seconds_count{host="a.test",path_prefix="/"} 10',
        'rivetr_bytes_total{direction="out"} 40',
        "rivetr_connections 7",
        "rivetr_in_flight 2",
        'rivetr_backend_healthy{address="10.0.0.1:80"} 1',
        'rivetr_apps{state="running"} 0',
        "rivetr_queue_depth 0",
    ):
        assert line in lines
    assert answer.text.endswith("\n")


def test_nobody_reads_them_without_a_token_unless_they_are_public(instance: Flask) -> None:
    wanted = 200 if config.current().metrics.public else 401
    assert instance.test_client().get("/metrics").status_code == wanted


def test_labels_and_help_are_escaped() -> None:
    family = Family("a", "gauge", "one\ntwo \\", (Sample({"x": 'q"\\\n'}, 1),))
    assert render([family]) == '# HELP a one\\ntwo \\\\\n# TYPE a gauge\na{x="q\\"\\\\\\n"} 1\n'
