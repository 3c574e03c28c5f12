"""TLS with the certificate of the host that the client names (SNI, RFC 6066, 3)."""

import logging
import os
import ssl
from collections.abc import Mapping
from ssl import SSLContext

from proxy.contract import CertificateFiles

log = logging.getLogger("proxy")


def context_for(chain_path: str, key_path: str) -> SSLContext:
    """A server's context, TLS 1.2 and newer. Raises `OSError` (`ssl.SSLError` is one) for unreadable files."""
    # Not create_default_context: that loads the CA bundle, which a server never needs.
    context = SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(chain_path, key_path)
    return context


class Certificates:
    """One context a certificate, loaded when first asked for and again when its files change."""

    def __init__(self, default: SSLContext) -> None:
        self.default = default
        default.sni_callback = self._choose
        self._files: Mapping[str, CertificateFiles] = {}
        # By host: the files' state when they were loaded, and None when they could not be.
        self._loaded: dict[str, tuple[object, SSLContext | None]] = {}

    def adopt(self, certificates: tuple[CertificateFiles, ...]) -> None:
        """Serve these from now on."""
        self._files = {entry.host.lower(): entry for entry in certificates}
        self._loaded = {host: loaded for host, loaded in self._loaded.items() if host in self._files}

    def _choose(self, tls: ssl.SSLSocket | ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        host = (name or "").lower().rstrip(".")
        for wanted in (host, f"*.{host.partition('.')[2]}"):
            found = self._files.get(wanted)
            context = self._load(found) if found else None
            if context is not None:
                tls.context = context
                return

    def _load(self, files: CertificateFiles) -> SSLContext | None:
        state = (files, _changed_at(files.chain_path), _changed_at(files.key_path))
        seen, context = self._loaded.get(files.host.lower(), (None, None))
        if seen == state:
            return context
        context = None
        try:
            context = context_for(files.chain_path, files.key_path)
        except OSError as error:
            # Once for each state of the files, not for each visitor.
            log.error("The certificate of %s cannot be used (%s); the default one is served.", files.host, error)
        self._loaded[files.host.lower()] = (state, context)
        return context


def _changed_at(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
