"""Signatures of firmware (security whitepaper 3.5.2 and 5.11): do certificate and signature belong together?

The signature is over the SHA-256 of the file, made with the key of the signing certificate: RSA (PSS, or
PKCS #1 v1.5) or ECDSA. Where the file is ours it is verified; else only its form is.
"""

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from ohmstead.core.errors import Invalid

CERTIFICATE_LENGTH: Final = 5500
SIGNATURE_LENGTH: Final = 800
"""The most that SignedUpdateFirmware.req carries of each."""
SMALLEST_RSA: Final = 2048
DIGEST: Final = Prehashed(hashes.SHA256())


@dataclass(frozen=True, slots=True)
class Signing:
    """What goes to the charger: a PEM certificate, and the signature in base64."""

    certificate: str
    signature: str


def check_signing(certificate: str, signature: str, sha256: str | None, now: datetime | None) -> Signing:
    """Return both in the form in which they are sent. Raises `Invalid` when they do not belong together.

    `sha256` is that of the file in hexadecimal digits, None where nobody knows it. A chain may follow the
    signing certificate, which comes first. With `now` None it is not asked whether the certificate is valid.
    """
    pem = "\n".join(line.strip() for line in certificate.strip().splitlines()) + "\n"
    try:
        signer = x509.load_pem_x509_certificates(pem.encode())[0]
        key = signer.public_key()
    except (ValueError, IndexError) as error:
        raise _wrong("certificate", "is no certificate in PEM form") from error
    if len(pem) > CERTIFICATE_LENGTH:
        raise _wrong(
            "certificate", f"is longer than the {CERTIFICATE_LENGTH} characters that a charger takes"
        )
    if now is not None and not signer.not_valid_before_utc <= now < signer.not_valid_after_utc:
        raise _wrong("certificate", "is not valid at this moment: a charger would refuse it")
    compact = "".join(signature.split())
    try:
        raw = base64.b64decode(compact, validate=True)
    except binascii.Error as error:
        raise _wrong("signature", "is not base64") from error
    if not raw or len(compact) > SIGNATURE_LENGTH:
        raise _wrong("signature", f"must have 1 to {SIGNATURE_LENGTH} characters")
    if isinstance(key, rsa.RSAPublicKey):
        fits = _fits_rsa(key, raw, sha256)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        fits = _fits_ecdsa(key, raw, sha256)
    else:
        raise _wrong("certificate", "has a key that is neither RSA nor an elliptic curve")
    if not fits:
        what = "of the file" if sha256 else "by this key"
        raise _wrong("signature", f"is not the signature {what} that the certificate's key makes")
    return Signing(pem, compact)


def _fits_rsa(key: rsa.RSAPublicKey, signature: bytes, sha256: str | None) -> bool:
    if key.key_size < SMALLEST_RSA:
        raise _wrong("certificate", f"has an RSA key of less than {SMALLEST_RSA} bits")
    if sha256 is None:
        return len(signature) == (key.key_size + 7) // 8
    for how in (padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO), padding.PKCS1v15()):
        try:
            key.verify(signature, bytes.fromhex(sha256), how, DIGEST)
        except InvalidSignature:
            continue
        return True
    return False


def _fits_ecdsa(key: ec.EllipticCurvePublicKey, signature: bytes, sha256: str | None) -> bool:
    try:
        decode_dss_signature(signature)
        if sha256 is not None:
            key.verify(signature, bytes.fromhex(sha256), ec.ECDSA(DIGEST))
    except (ValueError, InvalidSignature):
        return False
    return True


def _wrong(field: str, what: str) -> Invalid:
    return Invalid(
        f"The {field} of the firmware {what}.",
        code="SigningInvalid",
        fields={f"signing.{field}": what},
    )
