"""The certificate for names that have none of their own: signed by itself, for no one's name."""

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rivetr import shell
from rivetr.errors import Misconfigured

_VALID = timedelta(days=3650)


def ensure_default(folder: Path) -> tuple[Path, Path]:
    """Paths of chain and key (PEM, 0600), made when they are not there. Raises `Misconfigured`."""
    chain, key = folder / "default.pem", folder / "default.key"
    if not (chain.exists() and key.exists()):
        folder.mkdir(mode=0o700, exist_ok=True)
        # The library costs 20 MB that a proxy would keep for ever, so another process makes them.
        done = shell.run(shell.python("rivetr.issuers.selfsigned", str(chain), str(key)), timeout=60)
        if done.status != 0:
            raise Misconfigured(f"The default certificate could not be made: {done.output.strip()}")
    return chain, key


def main(chain: Path, key: Path) -> None:
    """Make both files."""
    certificate, private = _make()
    _write(key, private)
    _write(chain, certificate)


def _make() -> tuple[bytes, bytes]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Rivetr: no certificate for this name")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _VALID)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


def _write(path: Path, content: bytes) -> None:
    aside = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    aside.replace(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
