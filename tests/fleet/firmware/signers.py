"""Makers of firmware: a key, its certificate, and signatures by it."""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID

PSS = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)


@dataclass
class Signer:
    """Signs as the makers of chargers do."""

    key: Any
    certificate: str

    def sign(self, content: bytes, how: Any = None) -> str:
        if isinstance(self.key, rsa.RSAPrivateKey):
            return base64.b64encode(self.key.sign(content, how or PSS, hashes.SHA256())).decode()
        return base64.b64encode(self.key.sign(content, ec.ECDSA(hashes.SHA256()))).decode()


def signer(
    kind: str = "ec",
    *,
    since: datetime = datetime(2020, 1, 1, tzinfo=UTC),
    until: datetime = datetime(2040, 1, 1, tzinfo=UTC),
) -> Signer:
    """Make a key of this kind (`ec`, `rsa`, `rsa1024`, `ed25519`) with a certificate of its own."""
    key: Any
    if kind == "ec":
        key = ec.generate_private_key(ec.SECP256R1())
    elif kind == "ed25519":
        key = ed25519.Ed25519PrivateKey.generate()
    else:
        key = rsa.generate_private_key(65537, 1024 if kind == "rsa1024" else 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"maker {kind}")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
        .sign(key, None if kind == "ed25519" else hashes.SHA256())
    )
    return Signer(key, made.public_bytes(serialization.Encoding.PEM).decode())
