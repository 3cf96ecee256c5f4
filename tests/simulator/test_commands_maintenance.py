"""Firmware, diagnostics, logs and certificates: answered and followed."""

from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from ocpp.v16 import call
from tests.simulator.central import Central
from tests.simulator.conftest import MakeStation

from ohmstead_simulator.clock import ManualClock
from ohmstead_simulator.state import wire_time


async def status_of(central: Central, request: Any, charger_id: str = "CP1") -> str:
    """The status that the charge point answers."""
    return str((await central.command(charger_id, request)).status)


class TestMaintenance:
    async def test_diagnostics_and_logs_are_reported_while_they_go_up(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        await make_station()
        answer = await central.command("CP1", call.GetDiagnostics(location="ftp://x/"))
        assert answer.file_name == "CP1-diagnostics.zip"
        await clock.advance(10)
        sent = [one.payload["status"] for one in central.of("DiagnosticsStatusNotification")]
        assert sent == ["Uploading", "Uploaded"]
        request = call.GetLog(log={"remote_location": "ftp://x/"}, log_type="SecurityLog", request_id=4)
        assert await status_of(central, request) == "Accepted"
        await clock.advance(10)
        logs = [
            (one.payload["status"], one.payload["requestId"]) for one in central.of("LogStatusNotification")
        ]
        assert logs == [("Uploading", 4), ("Uploaded", 4)]

    async def test_an_update_waits_for_its_time_and_for_the_transaction_and_changes_the_version(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        station = await make_station()
        await station.plug()
        await station.start(1, "TAG")
        when = wire_time(clock.now() + timedelta(seconds=100))
        await central.command("CP1", call.UpdateFirmware(location="https://x/fw-2.0.bin", retrieve_date=when))
        await clock.advance(99)
        assert central.of("FirmwareStatusNotification") == []
        await clock.advance(60)
        sent = [one.payload["status"] for one in central.of("FirmwareStatusNotification")]
        assert sent == ["Downloading", "Downloaded"]
        await station.stop()
        await clock.advance(60)
        sent = [one.payload["status"] for one in central.of("FirmwareStatusNotification")]
        assert sent == ["Downloading", "Downloaded", "Installing", "Installed"]
        assert central.of("BootNotification")[-1].payload["firmwareVersion"] == "fw-2.0"

    async def test_a_signed_update_checks_its_certificate(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        await make_station()
        firmware = {
            "location": "https://x/fw-3.bin",
            "retrieve_date_time": wire_time(clock.now()),
            "signing_certificate": "no certificate",
            "signature": "sig",
        }
        request = call.SignedUpdateFirmware(request_id=9, firmware=firmware)
        assert await status_of(central, request) == "InvalidCertificate"
        firmware["signing_certificate"] = root_certificate()
        assert await status_of(central, request) == "Accepted"
        await clock.advance(120)
        sent = [
            (one.payload["status"], one.payload["requestId"])
            for one in central.of("SignedFirmwareStatusNotification")
        ]
        stages = [
            "Downloading",
            "Downloaded",
            "SignatureVerified",
            "Installing",
            "InstallRebooting",
            "Installed",
        ]
        assert sent == [(stage, 9) for stage in stages]


def root_certificate(key: ec.EllipticCurvePrivateKey | None = None, public: Any = None) -> str:
    """A PEM certificate signed by `key`, for `public` (itself when none)."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")])
    now = ManualClock().now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public or key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


class TestCertificates:
    async def test_roots_are_installed_listed_and_deleted(
        self, central: Central, make_station: MakeStation
    ) -> None:
        await make_station()
        use = "CentralSystemRootCertificate"
        install = call.InstallCertificate(certificate_type=use, certificate=root_certificate())
        assert await status_of(central, install) == "Accepted"
        junk = call.InstallCertificate(certificate_type=use, certificate="junk")
        assert await status_of(central, junk) == "Rejected"
        answer = await central.command("CP1", call.GetInstalledCertificateIds(certificate_type=use))
        assert answer.status == "Accepted"
        (found,) = answer.certificate_hash_data
        assert await status_of(central, call.DeleteCertificate(certificate_hash_data=found)) == "Accepted"
        assert await status_of(central, call.DeleteCertificate(certificate_hash_data=found)) == "NotFound"
        listing = call.GetInstalledCertificateIds(certificate_type=use)
        assert await status_of(central, listing) == "NotFound"

    async def test_a_signing_request_is_answered_with_a_certificate_for_its_key(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        station = await make_station()
        trigger = call.ExtendedTriggerMessage(requested_message="SignChargePointCertificate")
        assert await status_of(central, trigger) == "Accepted"
        await central.until(lambda: bool(central.of("SignCertificate")))
        csr = x509.load_pem_x509_csr(central.of("SignCertificate")[0].payload["csr"].encode())
        assert csr.is_signature_valid
        assert csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "CP1"
        other = call.CertificateSigned(certificate_chain=root_certificate())
        assert await status_of(central, other) == "Rejected"
        await clock.advance(1)
        assert central.of("SecurityEventNotification")[0].payload["type"] == "InvalidChargePointCertificate"
        chain = root_certificate(public=csr.public_key())
        assert await status_of(central, call.CertificateSigned(certificate_chain=chain)) == "Accepted"
        assert station.certificates.own is not None

    async def test_the_log_status_is_told_when_triggered(
        self, central: Central, clock: ManualClock, make_station: MakeStation
    ) -> None:
        await make_station()
        trigger = call.ExtendedTriggerMessage(requested_message="LogStatusNotification")
        assert await status_of(central, trigger) == "Accepted"
        await clock.advance(1)
        assert central.of("LogStatusNotification")[0].payload["status"] == "Idle"
