"""Which instance the client commands talk to: `RIVETR_URL` and `RIVETR_TOKEN`, or the one on this machine."""

import json
import os

from rivetr import config
from rivetr.cli.client import HOW_TO_GET_ONE, Client
from rivetr.errors import Misconfigured


def connect(needs_token: bool = True) -> Client:
    """The client that `RIVETR_URL` and `RIVETR_TOKEN` describe.

    Without `RIVETR_URL` it is the instance that `rivetr up` started on this machine. Raises
    `Misconfigured`, saying which variable to set.
    """
    token = os.environ.get("RIVETR_TOKEN", "").strip()
    if needs_token and not token:
        raise Misconfigured(f"Set RIVETR_TOKEN to an API token: {HOW_TO_GET_ONE}.")
    if any(not "!" <= character <= "~" for character in token):
        raise Misconfigured("RIVETR_TOKEN holds blanks or characters that no token has: copy it anew.")
    return Client(os.environ.get("RIVETR_URL", "").strip() or local_url(config.load()), token or None)


def local_url(settings: config.Settings) -> str:
    """Where `rivetr up` says that this machine's instance is. Raises `Misconfigured` when it never said."""
    file = settings.data_dir / "address.json"
    try:
        return str(json.loads(file.read_text("utf-8"))["url"])
    except FileNotFoundError:
        why = "'rivetr up' has not been started with this data folder"
    except OSError as error:
        why = f"it cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError):
        why = "it holds no address"
    raise Misconfigured(f"Set RIVETR_URL to the instance's address, such as http://localhost:8080 ({file}: {why}).")
