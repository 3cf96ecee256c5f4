"""The certificates of a charge point, in memory (security whitepaper for OCPP 1.6, 3rd edition, M01-M06)."""

import base64
import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Stored:
    """A root certificate and what it is for (CertificateUseEnumType)."""

    use: str
    certificate: x509.Certificate


def hash_data(certificate: x509.Certificate, algorithm: str = "SHA256") -> dict[str, str]:
    """CertificateHashDataType of a root certificate, whose issuer is itself."""
    key = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    name = certificate.issuer.public_bytes()
    digest = algorithm.lower()
    return {
        "hash_algorithm": algorithm,
        "issuer_name_hash": hashlib.new(digest, name).hexdigest(),
        "issuer_key_hash": hashlib.new(digest, key).hexdigest(),
        "serial_number": f"{certificate.serial_number:x}",
    }


class CertificateStore:
    """Root certificates that were installed, and the charge point's own key and certificate."""

    def __init__(self, charger_id: str, max_length: int = 10) -> None:
        self._charger_id = charger_id
        self._max_length = max_length
        self._roots: list[Stored] = []
        self._key: ec.EllipticCurvePrivateKey | None = None
        self.own: x509.Certificate | None = None

    def install(self, use: str, pem: str) -> str:
        """InstallCertificate: Rejected when it is no certificate, Failed when the store is full."""
        try:
            certificate = x509.load_pem_x509_certificate(pem.encode())
        except ValueError:
            return "Rejected"
        if any(stored.use == use and stored.certificate == certificate for stored in self._roots):
            return "Accepted"
        if len(self._roots) >= self._max_length:
            return "Failed"
        self._roots.append(Stored(use, certificate))
        return "Accepted"

    def delete(self, wanted: dict[str, str]) -> str:
        """DeleteCertificate by its hash data; hexadecimal digits in any case."""
        algorithm = wanted["hash_algorithm"]
        for stored in self._roots:
            found = hash_data(stored.certificate, algorithm)
            if all(found[name].lower() == str(wanted[name]).lower() for name in found):
                self._roots.remove(stored)
                return "Accepted"
        return "NotFound"

    def installed(self, use: str) -> list[dict[str, str]]:
        """GetInstalledCertificateIds: the hash data of each root for that use."""
        return [hash_data(stored.certificate) for stored in self._roots if stored.use == use]

    def trusts(self, use: str, pem: str) -> bool:
        """Whether a certificate is from one of the roots for that use; without any root each one is."""
        roots = [stored.certificate for stored in self._roots if stored.use == use]
        try:
            certificate = x509.load_pem_x509_certificates(pem.encode())[0]
        except (ValueError, IndexError):
            return False
        return not roots or any(_is_issued_by(certificate, root) for root in roots)

    def signing_request(self, organization: str) -> str:
        """A new key, and a PEM CSR for it with the identity as common name."""
        self._key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, self._charger_id[:64]),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization[:64] or "Ohmstead"),
            ]
        )
        request = (
            x509.CertificateSigningRequestBuilder().subject_name(subject).sign(self._key, hashes.SHA256())
        )
        return request.public_bytes(serialization.Encoding.PEM).decode()

    def signed(self, chain: str) -> str:
        """CertificateSigned: Accepted when the first of the chain belongs to the key of the last CSR."""
        try:
            leaf = x509.load_pem_x509_certificates(chain.encode())[0]
        except (ValueError, IndexError):
            return "Rejected"
        if self._key is None or leaf.public_key() != self._key.public_key():
            return "Rejected"
        self.own = leaf
        return "Accepted"


def _is_issued_by(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def verifies(pem: str, signature: str, digest: bytes) -> bool:
    """Whether the base64 signature is that of the SHA-256 `digest`, by the key of the PEM certificate."""
    sha256 = Prehashed(hashes.SHA256())
    try:
        key = x509.load_pem_x509_certificates(pem.encode())[0].public_key()
        raw = base64.b64decode(signature, validate=True)
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(raw, digest, ec.ECDSA(sha256))
            return True
        if not isinstance(key, rsa.RSAPublicKey):
            return False
    except (ValueError, IndexError, InvalidSignature):
        return False
    for how in (padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO), padding.PKCS1v15()):
        try:
            key.verify(raw, digest, how, sha256)
        except InvalidSignature:
            continue
        return True
    return False


def is_certificate(pem: str) -> bool:
    """Whether the text is a PEM certificate (the signing certificate of a firmware)."""
    try:
        x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        return False
    return True
