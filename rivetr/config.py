"""Settings: defaults, then `rivetr.toml`, then `RIVETR_SECTION__KEY` (or `…_FILE`), checked once at start."""

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from rivetr.errors import Misconfigured

PREFIX = "RIVETR_"
_MOST_PROXIES = 64
# Environment names that share the prefix but are no settings.
_OTHER_VARIABLES = {"RIVETR_CONFIG", "RIVETR_SECRET_KEY", "RIVETR_SECRET_KEY_FILE", "RIVETR_URL", "RIVETR_TOKEN"}


@dataclass(frozen=True, slots=True)
class Server:
    """Where we listen and where we keep things."""

    host: str = "0.0.0.0"  # noqa: S104 - a server is meant to be reached
    api_port: int = 8080
    proxy_port: int = 80
    proxy_https_port: int = 443
    data_dir: str = "/var/lib/rivetr"
    external_url: str = ""


@dataclass(frozen=True, slots=True)
class Auth:
    """Who may administer from the start."""

    admin_token: str = ""


@dataclass(frozen=True, slots=True)
class Runtime:
    """Which container engine to use: `docker`, `podman` or `auto`."""

    type: str = "auto"
    docker_socket: str = "/var/run/docker.sock"


@dataclass(frozen=True, slots=True)
class Build:
    """What one image build may use; `timeout` in seconds, `concurrency` builds at once."""

    cpu_limit: str = "2"
    memory_limit: str = "2g"
    timeout: int = 1800
    concurrency: int = 1


@dataclass(frozen=True, slots=True)
class Deploy:
    """How long a switch may take: seconds until healthy, and for old requests to end."""

    healthcheck_timeout: int = 60
    drain_timeout: int = 30


@dataclass(frozen=True, slots=True)
class Proxy:
    """The reverse proxy and its certificates."""

    acme_email: str = ""
    acme_staging: bool = False
    acme_directory_url: str = ""
    acme_ca_file: str = ""
    base_domain: str = "localhost"
    workers: int = 1
    trusted_proxies: list[str] = field(default_factory=list)
    proxy_protocol: bool = False
    header_timeout: int = 15
    idle_timeout: int = 75
    body_timeout: int = 60
    connect_timeout: int = 5
    first_byte_timeout: int = 60
    stream_timeout: int = 3600
    max_head_bytes: int = 32768
    max_fields: int = 200
    max_request_line: int = 16384
    max_body_bytes: int = 0
    max_connections: int = 10000
    max_connections_per_client: int = 2048
    access_log: str = ""
    access_log_format: str = "json"


@dataclass(frozen=True, slots=True)
class Git:
    """Where sources may come from."""

    schemes: list[str] = field(default_factory=lambda: ["https", "ssh"])
    allow_private_networks: bool = False


@dataclass(frozen=True, slots=True)
class Webhooks:
    """Secrets for apps that have none of their own."""

    github_secret: str = ""
    gitlab_token: str = ""
    gitea_secret: str = ""
    bitbucket_secret: str = ""


@dataclass(frozen=True, slots=True)
class Metrics:
    """Who may read `/metrics`: everybody when `public`, else whoever has a token."""

    public: bool = False


@dataclass(frozen=True, slots=True)
class Logging:
    """How much our own processes say: `debug`, `info`, `warning` or `error`."""

    level: str = "info"


@dataclass(frozen=True)
class Settings:
    """All settings of one instance; `explicit` names those that somebody set (`server.api_port`)."""

    server: Server = field(default_factory=Server)
    auth: Auth = field(default_factory=Auth)
    runtime: Runtime = field(default_factory=Runtime)
    build: Build = field(default_factory=Build)
    deploy: Deploy = field(default_factory=Deploy)
    proxy: Proxy = field(default_factory=Proxy)
    git: Git = field(default_factory=Git)
    webhooks: Webhooks = field(default_factory=Webhooks)
    metrics: Metrics = field(default_factory=Metrics)
    logging: Logging = field(default_factory=Logging)
    explicit: frozenset[str] = frozenset()

    @cached_property
    def data_dir(self) -> Path:
        return Path(self.server.data_dir).absolute()

    @property
    def database(self) -> Path:
        return self.data_dir / "rivetr.db"

    @property
    def queue_database(self) -> Path:
        return self.data_dir / "huey.db"

    @property
    def routes_database(self) -> Path:
        return self.data_dir / "routes.db"

    @property
    def proxy_database(self) -> Path:
        return self.data_dir / "proxy.db"

    @property
    def checkouts(self) -> Path:
        return self.data_dir / "checkouts"

    @property
    def locks(self) -> Path:
        return self.data_dir / "locks"

    @property
    def examples(self) -> Path:
        """Repositories that we made ourselves; the only ones `file://` may always name."""
        return self.data_dir / "examples"

    @property
    def dashboard_url(self) -> str:
        """Where people reach the dashboard, without a trailing slash."""
        if self.server.external_url:
            return self.server.external_url.rstrip("/")
        return f"http://localhost:{self.server.api_port}"

    def app_url(self, host: str) -> str:
        """The address at which the proxy serves `host` in the clear."""
        port = "" if self.server.proxy_port == 80 else f":{self.server.proxy_port}"
        return f"http://{host}{port}"

    def prepare_data_dir(self) -> None:
        """Make the data folder, readable by its owner only. Raises `Misconfigured` when that fails."""
        try:
            for folder in (self.data_dir, self.checkouts, self.locks, self.examples):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Misconfigured(
                f"The data folder {self.data_dir} cannot be made or written ({error.strerror}): "
                "give server.data_dir a folder this user may write."
            ) from None


SECTIONS = {f.name: f.default_factory for f in fields(Settings) if f.name != "explicit"}


def load(path: str | Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings of this process.

    `path` is the file that `--config` or `RIVETR_CONFIG` named; without one, `rivetr.toml` in the
    current folder is read if it is there. Raises `Misconfigured` naming the key at fault.
    """
    values = _from_file(path or environ.get("RIVETR_CONFIG"))
    _overlay_environment(values, environ)
    sections: dict[str, Any] = {}
    for name, section in SECTIONS.items():
        sections[name] = _build_section(name, section, values.get(name, {}))  # type: ignore[arg-type]
    explicit = frozenset(f"{name}.{key}" for name, keys in values.items() for key in keys)
    settings = Settings(**sections, explicit=explicit)
    _check(settings)
    return settings


def _from_file(path: str | Path | None) -> dict[str, dict[str, Any]]:
    file = Path(path or "rivetr.toml")
    if not file.exists():
        if path:
            raise Misconfigured(f"There is no configuration file {file}.")
        return {}
    try:
        parsed = tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{file} is not valid TOML: {error}.") from None
    for name, section in parsed.items():
        _known(name, list(SECTIONS), f"{file} has an unknown section")
        if not isinstance(section, dict):
            raise Misconfigured(f"{file}: [{name}] must be a section.")
    return parsed


def _overlay_environment(values: dict[str, dict[str, Any]], environ: Mapping[str, str]) -> None:
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable in _OTHER_VARIABLES:
            continue
        section, separator, key = variable.removeprefix(PREFIX).lower().partition("__")
        if not separator:
            raise Misconfigured(f"The environment variable {variable} is no setting: write {PREFIX}SECTION__KEY.")
        _known(section, list(SECTIONS), f"The environment variable {variable} names an unknown section")
        if key.endswith("_file") and key not in _keys(section):
            key = key.removesuffix("_file")
            try:
                text = Path(text).read_text("utf-8").strip()
            except OSError as error:
                raise Misconfigured(f"{variable}: {text} cannot be read ({error.strerror}).") from None
        _known(key, _keys(section), f"The environment variable {variable} names an unknown key")
        values.setdefault(section, {})[key] = _from_text(section, key, text)


def _keys(section: str) -> list[str]:
    return [f.name for f in fields(SECTIONS[section]())]  # type: ignore[operator]


def _from_text(section: str, key: str, text: str) -> object:
    default = getattr(SECTIONS[section](), key)  # type: ignore[operator]
    if isinstance(default, bool):
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        return words.get(text.lower(), text)
    if isinstance(default, int):
        return int(text) if text.strip().lstrip("-").isdigit() else text
    if isinstance(default, list):
        return [item.strip() for item in text.split(",") if item.strip()]
    return text


def _build_section(name: str, section: type, values: Mapping[str, Any]) -> object:
    defaults = section()
    for key, value in values.items():
        _known(key, _keys(name), f"Unknown key in [{name}]")
        wanted = type(getattr(defaults, key))
        if type(value) is not wanted or (wanted is list and not all(isinstance(item, str) for item in value)):
            words = {bool: "true or false", int: "a whole number", str: "a text", list: "a list of texts"}
            raise Misconfigured(f"{name}.{key} must be {words[wanted]}, not {value!r}.")
    return section(**values)


def _known(word: str, words: list[str], complaint: str) -> None:
    if word not in words:
        near = difflib.get_close_matches(word, words, n=1, cutoff=0)
        raise Misconfigured(f"{complaint}: '{word}'. The nearest known one is '{near[0]}'.")


def _check(settings: Settings) -> None:
    server = settings.server
    for key in ("api_port", "proxy_port", "proxy_https_port"):
        if not 1 <= getattr(server, key) <= 65535:
            raise Misconfigured(f"server.{key} must be 1 to 65535, not {getattr(server, key)}.")
    _one_of("runtime.type", settings.runtime.type, ("auto", "docker", "podman"))
    _one_of("logging.level", settings.logging.level, ("debug", "info", "warning", "error"))
    for scheme in settings.git.schemes:
        _one_of("git.schemes", scheme, ("https", "ssh", "http", "git", "file"))
    for name in ("build.concurrency", "build.timeout", "deploy.healthcheck_timeout", "deploy.drain_timeout"):
        section, _, key = name.partition(".")
        if getattr(getattr(settings, section), key) < 1:
            raise Misconfigured(f"{name} must be at least 1.")
    _check_proxy(settings.proxy)
    if server.external_url and not server.external_url.startswith(("http://", "https://")):
        raise Misconfigured("server.external_url must start with http:// or https://.")


# The least and the most of each number; what waits for visitors or apps is in seconds.
_PROXY_BOUNDS = {
    "header_timeout": (1, 3600),
    "idle_timeout": (1, 86400),
    "body_timeout": (1, 86400),
    "connect_timeout": (1, 3600),
    "first_byte_timeout": (1, 86400),
    "stream_timeout": (1, 604800),
    "max_head_bytes": (1024, 1048576),
    "max_fields": (10, 10000),
    "max_request_line": (256, 1048576),
    "max_body_bytes": (0, 2**50),
    "max_connections": (1, 1000000),
    "max_connections_per_client": (0, 1000000),
}


def _check_proxy(proxy: Proxy) -> None:
    if not 1 <= proxy.workers <= _MOST_PROXIES:
        raise Misconfigured(f"proxy.workers must be 1 to {_MOST_PROXIES}, not {proxy.workers}.")
    for key, (least, most) in _PROXY_BOUNDS.items():
        if not least <= getattr(proxy, key) <= most:
            raise Misconfigured(f"proxy.{key} must be {least} to {most}, not {getattr(proxy, key)}.")
    if proxy.max_request_line > proxy.max_head_bytes:
        raise Misconfigured("proxy.max_request_line must be at most proxy.max_head_bytes, of which it is a part.")
    if proxy.proxy_protocol and not proxy.trusted_proxies:
        raise Misconfigured("proxy.proxy_protocol needs proxy.trusted_proxies: only those may say who a visitor is.")
    _one_of("proxy.access_log_format", proxy.access_log_format, ("json", "combined"))


def _one_of(key: str, value: str, words: tuple[str, ...]) -> None:
    if value not in words:
        raise Misconfigured(f"{key} must be one of {', '.join(words)}, not '{value}'.")


_current: Settings | None = None


def use(settings: Settings) -> None:
    """Make `settings` the ones of this process."""
    global _current  # noqa: PLW0603 - one configuration a process, set once at its start
    _current = settings


def current() -> Settings:
    """The settings of this process."""
    if _current is None:
        raise Misconfigured("No settings were loaded in this process.")
    return _current
