"""Handshakes made by hand, to see the HTTP answer to what no client library would send."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from ssl import SSLContext, create_default_context

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class Answered:
    """The answer to a handshake."""

    status: int
    headers: dict[str, str]
    body: str


async def knock(port: int, path: str | bytes, *lines: str, upgrade: bool = True) -> Answered:
    """Ask for a WebSocket at `path`, taken as it is, with further header lines."""
    raw = path.encode() if isinstance(path, str) else path
    head = [b"GET " + raw + b" HTTP/1.1", b"Host: charge.example.com"]
    if upgrade:
        head += [b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"]
        head += [b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    else:
        head += [b"Connection: close"]
    head += [line.encode("latin-1") for line in lines]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"\r\n".join(head) + b"\r\n\r\n")
        async with asyncio.timeout(60):
            text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *rest = text.strip().split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)
            }
            status = int(first.split()[1])
            body = b"" if status == 101 else await reader.read()
    finally:
        writer.close()
    return Answered(status, headers, body.decode(errors="replace"))


def self_signed(folder: Path) -> tuple[Path, Path, SSLContext]:
    """Make a certificate for localhost; returns its file, the key's, and what a client needs to trust it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return cert_file, key_file, create_default_context(cafile=str(cert_file))
