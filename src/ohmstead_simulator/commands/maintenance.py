"""Firmware, diagnostics and logs (OCPP 1.6 5.9, 5.19; security whitepaper L01, N01)."""

from typing import Any

from ocpp.v16 import call_result

from ohmstead_simulator.certificates import is_certificate
from ohmstead_simulator.commands.routing import Commands, answers
from ohmstead_simulator.maintenance import Delivery, Update
from ohmstead_simulator.profiles import moment


class MaintenanceCommands(Commands):
    """Answers what a maintenance team asks for."""

    @answers("GetDiagnostics")
    def on_get_diagnostics(self, **request: Any) -> Any:
        """Names the file, then uploads it; nothing is there from before the charge point was made (5.9)."""
        stop_time = request.get("stop_time")
        if stop_time is not None and moment(stop_time) < self.station.born:
            return call_result.GetDiagnostics()
        name = f"{self.station.charger_id}-diagnostics.zip"[-255:]
        delivery = Delivery(request["location"], name, **_tries(request))
        self.then(lambda: self.station.deliver(delivery))
        return call_result.GetDiagnostics(file_name=name)

    @answers("GetLog")
    def on_get_log(self, **request: Any) -> Any:
        """A second request while one runs cancels the first."""
        status = "AcceptedCanceled" if self.station.log_status == "Uploading" else "Accepted"
        name = f"{self.station.charger_id}-{request['log_type']}.log"[-255:]
        delivery = Delivery(
            request["log"]["remote_location"], name, request_id=request["request_id"], **_tries(request)
        )
        self.then(lambda: self.station.deliver(delivery))
        return call_result.GetLog(status=status, filename=name)

    @answers("UpdateFirmware")
    def on_update_firmware(self, **request: Any) -> Any:
        """Waits for retrieveDate, loads, installs when no transaction runs, reboots, reports Installed."""
        update = Update(request["location"], moment(request["retrieve_date"]), **_tries(request))
        self.then(lambda: self.station.update_firmware(update))
        return call_result.UpdateFirmware()

    @answers("SignedUpdateFirmware")
    def on_signed_update_firmware(self, **request: Any) -> Any:
        """As UpdateFirmware; the signature is verified after the download, the certificate at once.

        Where a manufacturer's root is installed, the certificate must be from one of these.
        """
        firmware = request["firmware"]
        certificate = firmware["signing_certificate"]
        trusted = self.station.certificates.trusts("ManufacturerRootCertificate", certificate)
        if not is_certificate(certificate) or not trusted:
            self.then(lambda: self.station.security_event("InvalidFirmwareSigningCertificate"))
            return call_result.SignedUpdateFirmware(status="InvalidCertificate")
        install_at = firmware.get("install_date_time")
        update = Update(
            firmware["location"],
            moment(firmware["retrieve_date_time"]),
            install_at=None if install_at is None else moment(install_at),
            request_id=request["request_id"],
            certificate=certificate,
            signature=firmware["signature"],
            **_tries(request),
        )
        busy = self.station.is_updating
        self.then(lambda: self.station.update_firmware(update))
        return call_result.SignedUpdateFirmware(status="AcceptedCanceled" if busy else "Accepted")


def _tries(request: dict[str, Any]) -> dict[str, Any]:
    """How often to try again, and after how many seconds, where the request says so."""
    wanted = {"retries": request.get("retries"), "retry_interval": request.get("retry_interval")}
    return {name: value for name, value in wanted.items() if value is not None}
