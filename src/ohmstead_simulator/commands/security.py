"""Certificates (security whitepaper for OCPP 1.6, A02, M03-M05)."""

from typing import Any

from ocpp.v16 import call_result

from ohmstead_simulator.commands.routing import Commands, answers


class SecurityCommands(Commands):
    """Answers from the certificate store."""

    @answers("CertificateSigned")
    def on_certificate_signed(self, **request: Any) -> Any:
        """Accepted when it fits the key of the last SignCertificate; else a security event follows."""
        status = self.station.certificates.signed(request["certificate_chain"])
        if status == "Rejected":
            self.then(lambda: self.station.security_event("InvalidChargePointCertificate"))
        return call_result.CertificateSigned(status=status)

    @answers("InstallCertificate")
    def on_install_certificate(self, **request: Any) -> Any:
        """Rejected when it is no certificate, Failed when the store is full."""
        status = self.station.certificates.install(request["certificate_type"], request["certificate"])
        return call_result.InstallCertificate(status=status)

    @answers("DeleteCertificate")
    def on_delete_certificate(self, **request: Any) -> Any:
        """NotFound when no installed certificate has that hash data."""
        status = self.station.certificates.delete(request["certificate_hash_data"])
        return call_result.DeleteCertificate(status=status)

    @answers("GetInstalledCertificateIds")
    def on_get_installed_certificate_ids(self, **request: Any) -> Any:
        """The hash data of each root for that use."""
        found = self.station.certificates.installed(request["certificate_type"])
        return call_result.GetInstalledCertificateIds(
            status="Accepted" if found else "NotFound", certificate_hash_data=found or None
        )
