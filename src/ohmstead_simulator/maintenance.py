"""Firmware, diagnostics and logs of a charge point (OCPP 1.6 5.9, 5.19; security whitepaper L01, N01).

Files really go over HTTP. An image is text or not; one whose first line is `OHMSTEAD-FIRMWARE 2.0.0` has
that version, any other has that of its file name. One without a version after the word, and an empty one,
cannot be installed.
"""

import asyncio
import contextlib
import io
import json
import zipfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from ocpp.v16 import call

from ohmstead_simulator.certificates import verifies
from ohmstead_simulator.errors import Offline
from ohmstead_simulator.lifecycle import LivingStation
from ohmstead_simulator.state import wire_time
from ohmstead_simulator.transfers import Download, TransferFailed, upload

MARK: Final = b"OHMSTEAD-FIRMWARE"
DOWNLOAD_SECONDS: Final = 10.0
INSTALL_SECONDS: Final = 10.0
UPLOAD_SECONDS: Final = 5.0
BETWEEN_LOOKS: Final = 10.0
"""Seconds of the simulation between looks whether the transactions have ended."""


@dataclass(frozen=True, slots=True)
class Update:
    """What UpdateFirmware or, with `request_id`, SignedUpdateFirmware asked for."""

    location: str
    retrieve_at: datetime
    install_at: datetime | None = None
    retries: int = 0
    retry_interval: float = 30.0
    request_id: int | None = None
    certificate: str = ""
    signature: str = ""

    @property
    def signed(self) -> bool:
        """Whether the signature is to be verified."""
        return self.request_id is not None


@dataclass(frozen=True, slots=True)
class Delivery:
    """What GetDiagnostics or, with `request_id`, GetLog asked for."""

    location: str
    name: str
    retries: int = 0
    retry_interval: float = 30.0
    request_id: int | None = None


class MaintainedStation(LivingStation):
    """Adds the moving of files, and what is said meanwhile."""

    _updating: asyncio.Task[Any] | None = None
    _delivering: asyncio.Task[Any] | None = None
    _logging: asyncio.Task[Any] | None = None

    @property
    def is_updating(self) -> bool:
        """Whether an update is on its way."""
        return self._updating is not None and not self._updating.done()

    async def update_firmware(self, update: Update) -> None:
        """All stages of an update, in their order; a newer one ends it where it stands."""
        _take_over(self._updating)
        self._updating = asyncio.current_task()
        ok = await self._update(update)
        self.news["updated" if ok else "update_failed"] += 1
        self.firmware_status = "Idle"

    async def _update(self, update: Update) -> bool:
        wait = (update.retrieve_at - self.now()).total_seconds()
        if wait > 0:
            if update.signed:
                await self._stage(update, "DownloadScheduled")
            await self.clock.sleep(wait)
        await self._stage(update, "Downloading")
        image = await self._download(update)
        if image is None:
            await self._stage(update, "DownloadFailed")
            return False
        await self.clock.sleep(DOWNLOAD_SECONDS)
        await self._stage(update, "Downloaded")
        if update.signed:
            if not verifies(update.certificate, update.signature, image.digest):
                await self._stage(update, "InvalidSignature")
                await self.security_event("InvalidFirmwareSignature")
                return False
            await self._stage(update, "SignatureVerified")
        await self._await_the_right_time(update)
        await self._stage(update, "Installing")
        await self.clock.sleep(INSTALL_SECONDS)
        version = version_of(image.head, update.location)
        if version is None:
            await self._stage(update, "InstallVerificationFailed" if update.signed else "InstallationFailed")
            return False
        if update.signed:
            await self._stage(update, "InstallRebooting")
        self.firmware = version
        await self.reboot("Reboot")
        await self._stage(update, "Installed")
        await self.security_event("FirmwareUpdated", f"version {version}"[:255])
        return True

    async def _download(self, update: Update) -> Download | None:
        image = Download(update.location, self._tls)
        for attempt in range(update.retries + 1):
            if attempt:
                await self.clock.sleep(update.retry_interval)
            try:
                with self.clock.hold():
                    await image.attempt()
            except TransferFailed as error:
                self.emit("error", detail=f"firmware: {error}")
            else:
                return image
        return None

    async def _await_the_right_time(self, update: Update) -> None:
        """Wait until it may be installed: not before it was asked for, and not while somebody charges."""
        scheduled = False
        while True:
            wait = (update.install_at - self.now()).total_seconds() if update.install_at is not None else 0.0
            if wait <= 0 and all(plug.transaction is None for plug in self.connectors.values()):
                return
            if update.signed and not scheduled:
                scheduled = True
                await self._stage(update, "InstallScheduled")
            await self.clock.sleep(max(wait, BETWEEN_LOOKS))

    async def _stage(self, update: Update, status: str) -> None:
        self.firmware_status = status
        if update.signed:
            await self._say(
                call.SignedFirmwareStatusNotification(status=status, request_id=update.request_id)
            )
        else:
            await self._say(call.FirmwareStatusNotification(status=status))

    async def deliver(self, delivery: Delivery) -> None:
        """Upload diagnostics or a log, and say how far it is; a newer request ends it where it stands."""
        if delivery.request_id is None:
            _take_over(self._delivering)
            self._delivering = asyncio.current_task()
        else:
            _take_over(self._logging)
            self._logging = asyncio.current_task()
            self.log_request = delivery.request_id
        await self._progress(delivery, "Uploading")
        await self.clock.sleep(UPLOAD_SECONDS)
        failure = await self._upload(delivery)
        await self._progress(delivery, failure or "Uploaded")
        self.news["upload_failed" if failure else "uploaded"] += 1
        if delivery.request_id is None:
            self.diagnostics_status = "Idle"
        else:
            self.log_status = "Idle"

    async def _upload(self, delivery: Delivery) -> str | None:
        """Bring the file; returns the word for the failure, None when it is there."""
        log = delivery.request_id is not None
        failure = "UploadFailure" if log else "UploadFailed"
        content = self._log() if log else self._diagnostics()
        for attempt in range(delivery.retries + 1):
            if attempt:
                await self.clock.sleep(delivery.retry_interval)
            try:
                with self.clock.hold():
                    await upload(delivery.location, delivery.name, content, tls=self._tls)
            except TransferFailed as error:
                self.emit("error", detail=f"upload: {error}")
                if log and error.status in (401, 403):
                    failure = "PermissionDenied"
                continue
            return None
        return failure

    async def _progress(self, delivery: Delivery, status: str) -> None:
        if delivery.request_id is None:
            self.diagnostics_status = status
            await self._say(call.DiagnosticsStatusNotification(status=status))
        else:
            self.log_status = status
            await self._say(call.LogStatusNotification(status=status, request_id=delivery.request_id))

    async def _say(self, payload: Any) -> None:
        """Send a status, now or when the connection is back: it is not lost."""
        while True:
            if self.usable:
                with contextlib.suppress(Offline):
                    await self.call(payload)
                    return
            await self.clock.sleep(1.0)

    def _diagnostics(self) -> bytes:
        """A zip with the state of the charge point."""
        known, _ = self.configuration.listing(None)
        state = {
            "id": self.charger_id,
            "firmware": self.firmware,
            "at": wire_time(self.now()),
            "connectors": {number: plug.status for number, plug in self.connectors.items()},
            "configuration": {one["key"]: one.get("value") for one in known},
            "commands": self.commands[-100:],
        }
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("state.json", json.dumps(state, indent=1))
        return packed.getvalue()

    def _log(self) -> bytes:
        told = [f"{wire_time(self.now())} {self.charger_id} firmware {self.firmware}"]
        told += [f"command {action}" for action in self.commands[-100:]]
        return ("\n".join(told) + "\n").encode()


def version_of(head: bytes, location: str) -> str | None:
    """The version of an image by its first bytes, else by the name of its file; None when it is broken."""
    if not head:
        return None
    first = head.split(b"\n", 1)[0].strip()
    if first.startswith(MARK):
        return first.removeprefix(MARK).strip().decode("ascii", "replace")[:50] or None
    return PurePosixPath(unquote(urlsplit(location).path)).stem[:50] or None


def _take_over(task: asyncio.Task[Any] | None) -> None:
    if task is not None and task is not asyncio.current_task():
        task.cancel()
