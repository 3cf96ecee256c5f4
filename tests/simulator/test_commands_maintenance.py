"""Firmware, diagnostics, logs and certificates: answered and followed."""

import io
import json
import zipfile
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from ocpp.v16 import call
from tests.fleet.firmware.signers import signer
from tests.simulator.central import Central
from tests.simulator.conftest import MakeStation
from tests.simulator.files import FileServer

from ohmstead_simulator.clock import ManualClock
from ohmstead_simulator.state import wire_time


async def status_of(central: Central, request: Any, charger_id: str = "CP1") -> str:
    """The status that the charge point answers."""
    return str((await central.command(charger_id, request)).status)


@pytest.fixture
async def files() -> AsyncIterator[FileServer]:
    async with FileServer().serving() as server:
        yield server


def words(central: Central, action: str) -> list[str]:
    """What the charge point has said of its work, in order."""
    return [one.payload["status"] for one in central.of(action)]


def update(files: FileServer, clock: ManualClock, name: str = "fw-2.0.bin", **fields: Any) -> Any:
    """An UpdateFirmware for a file of the server, at once."""
    return call.UpdateFirmware(location=f"{files.url}/{name}", retrieve_date=wire_time(clock.now()), **fields)


def signed(files: FileServer, clock: ManualClock, signature: str, certificate: str, **fields: Any) -> Any:
    firmware = {
        "location": f"{files.url}/fw-3.bin",
        "retrieve_date_time": wire_time(clock.now()),
        "signing_certificate": certificate,
        "signature": signature,
        **fields,
    }
    return call.SignedUpdateFirmware(request_id=9, firmware=firmware)


UPDATE = "FirmwareStatusNotification"
SIGNED = "SignedFirmwareStatusNotification"
IMAGE = b"OHMSTEAD-FIRMWARE 2.5.0\n" + bytes(300_000)


class TestUploads:
    async def test_diagnostics_are_put_with_their_name_and_reported(
        self, central: Central, clock: ManualClock, make_station: MakeStation, files: FileServer
    ) -> None:
        await make_station()
        answer = await central.command("CP1", call.GetDiagnostics(location=f"{files.url}/uploads/x/"))
        assert answer.file_name == "CP1-diagnostics.zip"
        await clock.advance(10)
        assert words(central, "DiagnosticsStatusNotification") == ["Uploading", "Uploaded"]
        (put,) = files.of("PUT")
        assert put.path == "/uploads/x/CP1-diagnostics.zip"
        with zipfile.ZipFile(io.BytesIO(put.body)) as archive:
            state = json.loads(archive.read("state.json"))
        assert state["id"] == "CP1"
        assert "GetDiagnostics" in state["commands"]

    async def test_a_log_carries_its_request_id_and_goes_by_post_where_put_is_not_known(
        self, central: Central, clock: ManualClock, make_station: MakeStation, files: FileServer
    ) -> None:
        await make_station()
        files.refuse = {"PUT": 405}
        request = call.GetLog(
            log={"remote_location": f"{files.url}/in"}, log_type="SecurityLog", request_id=4
        )
        answer = await central.command("CP1", request)
        assert (answer.status, answer.filename) == ("Accepted", "CP1-SecurityLog.log")
        await clock.advance(10)
        logs = [
            (one.payload["status"], one.payload["requestId"]) for one in central.of("LogStatusNotification")
        ]
        assert logs == [("Uploading", 4), ("Uploaded", 4)]
        (post,) = files.of("POST")
        assert post.path == "/in"
        assert b'filename="CP1-SecurityLog.log"' in post.body

    @pytest.mark.parametrize(
        ("location", "refuse", "diagnostics", "log"),
        [
            ("ftp://somewhere/", {}, "UploadFailed", "UploadFailure"),
            ("http://127.0.0.1:1/", {}, "UploadFailed", "UploadFailure"),
            ("", {"PUT": 500}, "UploadFailed", "UploadFailure"),
            ("", {"PUT": 403}, "UploadFailed", "PermissionDenied"),
        ],
    )
    async def test_a_failed_upload_is_told(
        self,
        *,
        central: Central,
        clock: ManualClock,
        make_station: MakeStation,
        files: FileServer,
        location: str,
        refuse: dict[str, int],
        diagnostics: str,
        log: str,
    ) -> None:
        await make_station()
        files.refuse = refuse
        place = location or files.url
        await central.command("CP1", call.GetDiagnostics(location=place, retries=1, retry_interval=3))
        await clock.advance(60)
        assert words(central, "DiagnosticsStatusNotification") == ["Uploading", diagnostics]
        if refuse:
            assert len(files.of("PUT")) == 2
        await central.command(
            "CP1", call.GetLog(log={"remote_location": place}, log_type="SecurityLog", request_id=1)
        )
        await clock.advance(60)
        assert words(central, "LogStatusNotification") == ["Uploading", log]

    async def test_there_is_nothing_from_before_it_was_made(
        self, central: Central, clock: ManualClock, make_station: MakeStation, files: FileServer
    ) -> None:
        await make_station()
        before = wire_time(clock.now() - timedelta(days=1))
        answer = await central.command("CP1", call.GetDiagnostics(location=files.url, stop_time=before))
        assert answer.file_name is None
        await clock.advance(60)
        assert files.requests == []

    async def test_a_newer_request_for_a_log_cancels_the_one_that_runs(
        self, central: Central, clock: ManualClock, make_station: MakeStation, files: FileServer
    ) -> None:
        await make_station()
        for number, status in ((1, "Accepted"), (2, "AcceptedCanceled")):
            request = call.GetLog(
                log={"remote_location": files.url}, log_type="SecurityLog", request_id=number
            )
            assert await status_of(central, request) == status
            await clock.advance(1)
        await clock.advance(60)
        said = [
            (one.payload["status"], one.payload["requestId"]) for one in central.of("LogStatusNotification")
        ]
        assert said == [("Uploading", 1), ("Uploading", 2), ("Uploaded", 2)]


class TestUpdates:
    async def test_an_update_waits_for_its_time_and_for_the_transaction_and_changes_the_version(
        self, central: Central, clock: ManualClock, make_station: MakeStation, files: FileServer
    ) -> None:
        station = await make_station()
        files.files["/fw-2.0.bin"] = b"any bytes"
        await station.plug()
        await station.start(1, "TAG")
        when = wire_time(clock.now() + timedelta(seconds=100))
        await central.command(
            "CP1", call.UpdateFirmware(location=f"{files.url}/fw-2.0.bin", retrieve_date=when)
        )
        await clock.advance(99)
        assert words(central, UPDATE) == []
        assert files.requests == []
        await clock.advance(60)
        assert words(central, UPDATE) == ["Downloading", "Downloaded"]
        await station.stop()
        await clock.advance(60)
        assert words(central, UPDATE) == ["Downloading", "Downloaded", "Installing", "Installed"]
        assert central.of("BootNotification")[-1].payload["firmwareVersion"] == "fw-2.0"
        assert station.news["updated"] == 1

    async def test_the_version_is_that_of_the_image_where_it_says_one(
        self, central: Central, clock: ManualClock, make_station: MakeStation, files: FileServer
    ) -> None:
        await make_station()
        files.files["/fw-2.0.bin"] = IMAGE
        await central.command("CP1", update(files, clock))
        await clock.advance(120)
        assert central.of("BootNotification")[-1].payload["firmwareVersion"] == "2.5.0"
        assert [one.payload["type"] for one in central.of("SecurityEventNotification")][
            -1
        ] == "FirmwareUpdated"

    async def test_a_download_that_breaks_off_goes_on_where_it_was(
        self, central: Central, clock: ManualClock, make_station: MakeStation, files: FileServer
    ) -> None:
        await make_station()
        files.files["/fw-2.0.bin"] = IMAGE
        files.break_after = 200_000
        await central.command("CP1", update(files, clock, retries=2, retry_interval=5))
        await clock.advance(120)
        assert words(central, UPDATE)[-1] == "Installed"
        first, second = files.of("GET")
        assert "range" not in first.headers
        assert second.headers["range"] == "bytes=200000-"
        assert second.headers["if-range"] == '"1"'

    @pytest.mark.parametrize("location", ["/missing.bin", "ftp://host/fw.bin", "http://127.0.0.1:1/fw.bin"])
    async def test_a_failed_download_is_told_after_the_last_try(
        self,
        *,
        central: Central,
        clock: ManualClock,
        make_station: MakeStation,
        files: FileServer,
        location: str,
    ) -> None:
        station = await make_station()
        where = f"{files.url}{location}" if location.startswith("/") else location
        now = wire_time(clock.now())
        await central.command(
            "CP1", call.UpdateFirmware(location=where, retrieve_date=now, retries=2, retry_interval=60)
        )
        await clock.advance(100)
        assert words(central, UPDATE) == ["Downloading"]
        await clock.advance(60)
        assert words(central, UPDATE) == ["Downloading", "DownloadFailed"]
        assert station.firmware == "1.0.0"
        assert len(central.of("BootNotification")) == 1

    @pytest.mark.parametrize("content", [b"", b"OHMSTEAD-FIRMWARE\nno version"])
    async def test_a_broken_image_is_not_installed(
        self,
        *,
        central: Central,
        clock: ManualClock,
        make_station: MakeStation,
        files: FileServer,
        content: bytes,
    ) -> None:
        station = await make_station()
        files.files["/fw-2.0.bin"] = content
        await central.command("CP1", update(files, clock))
        await clock.advance(120)
        assert words(central, UPDATE)[-2:] == ["Installing", "InstallationFailed"]
        assert (station.firmware, station.news["update_failed"]) == ("1.0.0", 1)

    async def test_what_it_has_to_say_while_it_is_off_line_is_said_when_it_is_back(
        self, central: Central, clock: ManualClock, make_station: MakeStation, files: FileServer
    ) -> None:
        station = await make_station()
        files.files["/fw-2.0.bin"] = IMAGE
        await central.command("CP1", update(files, clock))
        await clock.advance(5)
        await station.offline()
        await clock.advance(100)
        assert words(central, UPDATE) == ["Downloading"]
        await station.online()
        await clock.advance(100)
        assert words(central, UPDATE) == ["Downloading", "Downloaded", "Installing", "Installed"]


class TestSignedUpdates:
    async def test_the_signature_is_verified_over_what_was_downloaded(
        self, central: Central, clock: ManualClock, make_station: MakeStation, files: FileServer
    ) -> None:
        await make_station()
        files.files["/fw-3.bin"] = IMAGE
        for maker in (signer("ec"), signer("rsa")):
            central.received.clear()
            request = signed(files, clock, maker.sign(IMAGE), maker.certificate)
            assert await status_of(central, request) == "Accepted"
            await clock.advance(120)
            said = [(one.payload["status"], one.payload["requestId"]) for one in central.of(SIGNED)]
            stages = [
                "Downloading",
                "Downloaded",
                "SignatureVerified",
                "Installing",
                "InstallRebooting",
                "Installed",
            ]
            assert said == [(stage, 9) for stage in stages]

    async def test_a_signature_of_another_file_ends_it(
        self, central: Central, clock: ManualClock, make_station: MakeStation, files: FileServer
    ) -> None:
        station = await make_station()
        files.files["/fw-3.bin"] = IMAGE
        maker = signer()
        for signature in (maker.sign(b"another"), "no base64!", signer().sign(IMAGE)):
            central.received.clear()
            request = signed(files, clock, signature, maker.certificate)
            assert await status_of(central, request) == "Accepted"
            await clock.advance(120)
            assert words(central, SIGNED) == ["Downloading", "Downloaded", "InvalidSignature"]
            (event,) = central.of("SecurityEventNotification")
            assert event.payload["type"] == "InvalidFirmwareSignature"
        assert station.firmware == "1.0.0"

    async def test_the_certificate_must_be_one_and_from_an_installed_root_where_there_is_one(
        self, central: Central, clock: ManualClock, make_station: MakeStation, files: FileServer
    ) -> None:
        await make_station()
        files.files["/fw-3.bin"] = IMAGE
        maker = signer()
        assert await status_of(central, signed(files, clock, "x", "no certificate")) == "InvalidCertificate"
        root = call.InstallCertificate(
            certificate_type="ManufacturerRootCertificate", certificate=signer().certificate
        )
        assert await status_of(central, root) == "Accepted"
        request = signed(files, clock, maker.sign(IMAGE), maker.certificate)
        assert await status_of(central, request) == "InvalidCertificate"
        await clock.advance(1)
        kinds = [one.payload["type"] for one in central.of("SecurityEventNotification")]
        assert kinds == ["InvalidFirmwareSigningCertificate"] * 2
        own = call.InstallCertificate(
            certificate_type="ManufacturerRootCertificate", certificate=maker.certificate
        )
        await status_of(central, own)
        assert await status_of(central, request) == "Accepted"

    async def test_times_are_kept_and_told_as_scheduled(
        self, central: Central, clock: ManualClock, make_station: MakeStation, files: FileServer
    ) -> None:
        await make_station()
        files.files["/fw-3.bin"] = IMAGE
        maker = signer()
        later, latest = (wire_time(clock.now() + timedelta(seconds=number)) for number in (60, 600))
        request = signed(
            files,
            clock,
            maker.sign(IMAGE),
            maker.certificate,
            retrieve_date_time=later,
            install_date_time=latest,
        )
        await status_of(central, request)
        await clock.advance(30)
        assert words(central, SIGNED) == ["DownloadScheduled"]
        await clock.advance(400)
        assert words(central, SIGNED)[-2:] == ["SignatureVerified", "InstallScheduled"]
        await clock.advance(300)
        assert words(central, SIGNED)[-1] == "Installed"

    async def test_a_newer_update_cancels_the_one_that_runs(
        self, central: Central, clock: ManualClock, make_station: MakeStation, files: FileServer
    ) -> None:
        await make_station()
        files.files["/fw-3.bin"] = IMAGE
        maker = signer()
        first = signed(files, clock, maker.sign(IMAGE), maker.certificate)
        second = call.SignedUpdateFirmware(request_id=10, firmware=first.firmware)
        assert await status_of(central, first) == "Accepted"
        await clock.advance(3)
        assert await status_of(central, second) == "AcceptedCanceled"
        await clock.advance(120)
        said = [(one.payload["status"], one.payload["requestId"]) for one in central.of(SIGNED)]
        assert said[:2] == [("Downloading", 9), ("Downloading", 10)]
        assert said[-1] == ("Installed", 10)
        assert len(said) == 7


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
