"""Settings: where they come from, and what a mistake in them says."""

from pathlib import Path

import pytest

from rivetr import config
from rivetr.cli.processes import proxy_arguments
from rivetr.errors import Misconfigured


def test_the_environment_overrides_the_file_and_the_file_the_default(tmp_path: Path) -> None:
    file = tmp_path / "rivetr.toml"
    file.write_text('[server]\napi_port = 9000\nproxy_port = 9001\n[git]\nschemes = ["https"]\n')
    settings = config.load(file, {"RIVETR_SERVER__API_PORT": "9100", "RIVETR_GIT__ALLOW_PRIVATE_NETWORKS": "true"})
    assert (settings.server.api_port, settings.server.proxy_port, settings.server.proxy_https_port) == (9100, 9001, 443)
    assert settings.git.schemes == ["https"]
    assert settings.git.allow_private_networks is True
    assert settings.explicit == {
        "server.api_port", "server.proxy_port", "git.schemes", "git.allow_private_networks",
    }  # fmt: skip


def test_a_value_can_be_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hush\n")
    settings = config.load(None, {"RIVETR_AUTH__ADMIN_TOKEN_FILE": str(tmp_path / "token")})
    assert settings.auth.admin_token == "hush"
    with pytest.raises(Misconfigured, match="cannot be read"):
        config.load(None, {"RIVETR_AUTH__ADMIN_TOKEN_FILE": str(tmp_path / "none")})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[sevrer]\n", ["sevrer", "server"]),
        ("[server]\nap_port = 1\n", ["ap_port", "api_port"]),
        ('[server]\napi_port = "80"\n', ["server.api_port", "whole number"]),
        ("[server]\napi_port = 0\n", ["server.api_port", "1 to 65535"]),
        ("[server]\napi_port = 70000\n", ["1 to 65535"]),
        ('[runtime]\ntype = "lxc"\n', ["runtime.type", "docker"]),
        ('[git]\nschemes = ["gopher"]\n', ["git.schemes"]),
        ("[git]\nschemes = [1]\n", ["git.schemes", "list of texts"]),
        ("[build]\ntimeout = 0\n", ["build.timeout"]),
        ('[server]\nexternal_url = "example.com"\n', ["external_url", "https://"]),
        ("[proxy]\nheader_timeout = 0\n", ["proxy.header_timeout", "1 to 3600", "not 0"]),
        ("[proxy]\nmax_body_bytes = -1\n", ["proxy.max_body_bytes", "0 to"]),
        ("[proxy]\nmax_head_bytes = 2048\n", ["proxy.max_request_line", "proxy.max_head_bytes"]),
        ("[proxy]\nproxy_protocol = true\n", ["proxy.proxy_protocol", "proxy.trusted_proxies"]),
        ('[proxy]\naccess_log_format = "xml"\n', ["proxy.access_log_format", "json, combined"]),
        ('[metrics]\npublic = "yes"\n', ["metrics.public", "true or false"]),
        ("server = 1\n", ["must be a section"]),
        ("[server\n", ["not valid TOML"]),
    ],
)
def test_a_mistake_in_the_file_is_named_with_the_nearest_known_key(tmp_path: Path, text: str, words: list[str]) -> None:
    file = tmp_path / "rivetr.toml"
    file.write_text(text)
    with pytest.raises(Misconfigured) as caught:
        config.load(file, {})
    for word in words:
        assert word in caught.value.message


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("RIVETR_SERVER__PROT", ["RIVETR_SERVER__PROT", "proxy_port"]),
        ("RIVETR_SEVER__API_PORT", ["server"]),
        ("RIVETR_PORT", ["RIVETR_SECTION__KEY"]),
    ],
)
def test_a_mistake_in_the_environment_is_named(variable: str, words: list[str]) -> None:
    with pytest.raises(Misconfigured) as caught:
        config.load(None, {variable: "1"})
    for word in words:
        assert word in caught.value.message


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="no configuration file"):
        config.load(tmp_path / "none.toml", {})


def test_addresses_for_people() -> None:
    settings = config.load(None, {"RIVETR_SERVER__PROXY_PORT": "8000"})
    assert settings.app_url("a.localhost") == "http://a.localhost:8000"
    assert config.load(None, {}).app_url("a.localhost") == "http://a.localhost"
    outside = config.load(None, {"RIVETR_SERVER__EXTERNAL_URL": "https://rivetr.example.com/"})
    assert outside.dashboard_url == "https://rivetr.example.com"


def test_the_proxy_is_told_only_what_differs_from_its_defaults(tmp_path: Path) -> None:
    plain = {"RIVETR_SERVER__DATA_DIR": str(tmp_path)}
    told = proxy_arguments(config.load(None, plain))
    assert not [part for part in told if part.startswith(("--max", "--access", "--proxy-protocol", "--idle"))]
    changed = {
        "RIVETR_PROXY__IDLE_TIMEOUT": "5",
        "RIVETR_PROXY__MAX_BODY_BYTES": "1000",
        "RIVETR_PROXY__ACCESS_LOG": "-",
        "RIVETR_PROXY__TRUSTED_PROXIES": "10.0.0.0/8",
        "RIVETR_PROXY__PROXY_PROTOCOL": "true",
        "RIVETR_PROXY__MAX_FIELDS": "200",
    }
    wanted = ["--idle-timeout", "5", "--max-body-bytes", "1000", "--access-log", "-", "--proxy-protocol"]
    assert proxy_arguments(config.load(None, {**plain, **changed}))[-len(wanted) :] == wanted
