"""TLS with the certificate of the host that the client names (SNI, RFC 6066, 3)."""

import logging
import os
import ssl
from collections.abc import Mapping

from gevent.ssl import SSLContext

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
        self._loaded: dict[tuple[str, str, int], SSLContext | None] = {}

    def adopt(self, certificates: tuple[CertificateFiles, ...]) -> None:
        """Serve these from now on."""
        self._files = {entry.host.lower(): entry for entry in certificates}

    def _choose(self, tls: ssl.SSLSocket | ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        host = (name or "").lower().rstrip(".")
        for wanted in (host, f"*.{host.partition('.')[2]}"):
            found = self._files.get(wanted)
            context = self._load(found) if found else None
            if context is not None:
                tls.context = context
                return

    def _load(self, files: CertificateFiles) -> SSLContext | None:
        try:
            key = (files.chain_path, files.key_path, os.stat(files.chain_path).st_mtime_ns)
            if key not in self._loaded:
                self._loaded[key] = context_for(files.chain_path, files.key_path)
        except OSError as error:
            log.error("The certificate of %s cannot be used (%s); the default one is served.", files.host, error)
            return None
        return self._loaded[key]
