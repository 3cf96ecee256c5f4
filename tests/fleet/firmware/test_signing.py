"""Certificate and signature of firmware: taken when they belong together, refused with the reason."""

import base64
import hashlib
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from tests.conftest import NOW
from tests.fleet.firmware.signers import Signer, signer

from ohmstead.core.errors import Invalid
from ohmstead.fleet.firmware.signing import check_signing

CONTENT = b"firmware" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def rsa() -> Signer:
    return signer("rsa")


@pytest.fixture(scope="module")
def ecdsa() -> Signer:
    return signer("ec")


def test_what_belongs_together_is_taken(rsa: Signer, ecdsa: Signer) -> None:
    for maker, signature in (
        (rsa, rsa.sign(CONTENT)),
        (rsa, rsa.sign(CONTENT, padding.PKCS1v15())),
        (ecdsa, ecdsa.sign(CONTENT)),
    ):
        for sha256 in (SHA256, None):
            made = check_signing(maker.certificate, signature, sha256, NOW)
            assert (made.certificate, made.signature) == (maker.certificate, signature)


def test_line_ends_of_windows_and_folded_base64_are_put_right(ecdsa: Signer) -> None:
    signature = ecdsa.sign(CONTENT)
    folded = f"{signature[:20]}\r\n {signature[20:]}\n"
    made = check_signing(ecdsa.certificate.replace("\n", "\r\n"), folded, SHA256, NOW)
    assert (made.certificate, made.signature) == (ecdsa.certificate, signature)


def test_a_chain_may_follow_the_signing_certificate(rsa: Signer, ecdsa: Signer) -> None:
    chain = ecdsa.certificate + rsa.certificate
    assert check_signing(chain, ecdsa.sign(CONTENT), SHA256, NOW).certificate == chain
    with pytest.raises(Invalid):
        check_signing(chain, rsa.sign(CONTENT), SHA256, NOW)


def test_a_signature_of_another_file_or_by_another_key_is_refused(rsa: Signer, ecdsa: Signer) -> None:
    for maker, signature in (
        (rsa, rsa.sign(b"another")),
        (ecdsa, ecdsa.sign(b"another")),
        (ecdsa, signer("ec").sign(CONTENT)),
        (rsa, signer("rsa").sign(CONTENT)),
    ):
        with pytest.raises(Invalid, match="of the file") as refused:
            check_signing(maker.certificate, signature, SHA256, NOW)
        assert refused.value.code == "SigningInvalid"
        assert set(refused.value.fields) == {"signing.signature"}


def test_where_the_file_is_not_known_its_form_must_fit_the_key(rsa: Signer, ecdsa: Signer) -> None:
    for maker, other in ((rsa, ecdsa), (ecdsa, rsa)):
        with pytest.raises(Invalid, match="by this key"):
            check_signing(maker.certificate, other.sign(CONTENT), None, NOW)


@pytest.mark.parametrize(
    "certificate", ["", "junk", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
)
def test_what_is_no_certificate_is_refused(certificate: str) -> None:
    with pytest.raises(Invalid, match="PEM") as refused:
        check_signing(certificate, "AAAA", SHA256, NOW)
    assert set(refused.value.fields) == {"signing.certificate"}


@pytest.mark.parametrize("signature", ["", "no base64!", "A", base64.b64encode(b"x" * 700).decode()])
def test_what_is_no_signature_is_refused(ecdsa: Signer, signature: str) -> None:
    with pytest.raises(Invalid, match="signature"):
        check_signing(ecdsa.certificate, signature, SHA256, NOW)


def test_a_certificate_counts_only_while_it_is_valid() -> None:
    for since, until in (
        (NOW - timedelta(days=9), NOW),
        (NOW + timedelta(seconds=1), NOW + timedelta(days=9)),
    ):
        maker = signer("ec", since=since, until=until)
        with pytest.raises(Invalid, match="not valid at this moment"):
            check_signing(maker.certificate, maker.sign(CONTENT), SHA256, NOW)
        check_signing(maker.certificate, maker.sign(CONTENT), SHA256, None)


def test_keys_that_chargers_do_not_take_are_refused(rsa: Signer) -> None:
    weak = signer("rsa1024")
    with pytest.raises(Invalid, match="2048"):
        check_signing(weak.certificate, weak.sign(CONTENT), SHA256, NOW)
    with pytest.raises(Invalid, match="elliptic"):
        check_signing(signer("ed25519").certificate, "AAAA", SHA256, NOW)
    with pytest.raises(Invalid, match="5500"):
        check_signing(rsa.certificate * 6, rsa.sign(CONTENT), SHA256, NOW)
