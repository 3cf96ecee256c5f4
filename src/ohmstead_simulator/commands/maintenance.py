"""Firmware, diagnostics and logs (OCPP 1.6 5.9, 5.19; security whitepaper L01, N01).

Nothing is really down- or uploaded: the stages are reported with plausible pauses.
"""

from typing import Any

from ocpp.v16 import call_result

from ohmstead_simulator.certificates import is_certificate
from ohmstead_simulator.commands.routing import Commands, answers
from ohmstead_simulator.profiles import moment


class MaintenanceCommands(Commands):
    """Answers what a maintenance team asks for."""

    @answers("GetDiagnostics")
    def on_get_diagnostics(self, **_request: Any) -> Any:
        """Names the file, then reports Uploading and Uploaded."""
        self.then(self.station.upload_diagnostics)
        return call_result.GetDiagnostics(file_name=f"{self.station.charger_id}-diagnostics.zip"[:255])

    @answers("GetLog")
    def on_get_log(self, **request: Any) -> Any:
        """A second request while one runs cancels the first."""
        status = "AcceptedCanceled" if self.station.log_status == "Uploading" else "Accepted"
        self.then(lambda: self.station.upload_log(request["request_id"]))
        name = f"{self.station.charger_id}-{request['log_type']}.log"
        return call_result.GetLog(status=status, filename=name[:255])

    @answers("UpdateFirmware")
    def on_update_firmware(self, **request: Any) -> Any:
        """Waits for retrieveDate, loads, installs when no transaction runs, reboots, reports Installed."""
        self.then(
            lambda: self.station.update_firmware(request["location"], moment(request["retrieve_date"]), None)
        )
        return call_result.UpdateFirmware()

    @answers("SignedUpdateFirmware")
    def on_signed_update_firmware(self, **request: Any) -> Any:
        """As UpdateFirmware, with the signature checked as far as: the signing certificate is one."""
        firmware = request["firmware"]
        if not is_certificate(firmware["signing_certificate"]):
            return call_result.SignedUpdateFirmware(status="InvalidCertificate")
        busy = self.station.firmware_status in ("Downloading", "Downloaded", "Installing")
        self.then(
            lambda: self.station.update_firmware(
                firmware["location"], moment(firmware["retrieve_date_time"]), request["request_id"]
            )
        )
        return call_result.SignedUpdateFirmware(status="AcceptedCanceled" if busy else "Accepted")
