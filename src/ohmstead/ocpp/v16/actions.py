"""The 39 actions: 28 of OCPP 1.6 Edition 2, 11 of the security whitepaper (Edition 3)."""

from typing import Final, Literal, NamedTuple

#: Who may send the CALL. DataTransfer alone goes both ways (OCPP 1.6, 4.3 and 5.6).
Sender = Literal["charger", "central", "both"]


class Action(NamedTuple):
    """One action.

    `profile` is the feature profile as chargers list it in the key SupportedFeatureProfiles;
    "Security" stands for the whitepaper. `block` is the subject that handles it, by the name of the gateway's
    file.
    """

    name: str
    sender: Sender
    profile: str
    block: str


_TABLE: Final = (
    Action("Authorize", "charger", "Core", "authorization"),
    Action("BootNotification", "charger", "Core", "provisioning"),
    Action("ChangeAvailability", "central", "Core", "availability"),
    Action("ChangeConfiguration", "central", "Core", "provisioning"),
    Action("ClearCache", "central", "Core", "authorization"),
    Action("DataTransfer", "both", "Core", "data_transfer"),
    Action("GetConfiguration", "central", "Core", "provisioning"),
    Action("Heartbeat", "charger", "Core", "availability"),
    Action("MeterValues", "charger", "Core", "metering"),
    Action("RemoteStartTransaction", "central", "Core", "transactions"),
    Action("RemoteStopTransaction", "central", "Core", "transactions"),
    Action("Reset", "central", "Core", "provisioning"),
    Action("StartTransaction", "charger", "Core", "transactions"),
    Action("StatusNotification", "charger", "Core", "availability"),
    Action("StopTransaction", "charger", "Core", "transactions"),
    Action("UnlockConnector", "central", "Core", "transactions"),
    Action("DiagnosticsStatusNotification", "charger", "FirmwareManagement", "diagnostics"),
    Action("FirmwareStatusNotification", "charger", "FirmwareManagement", "firmware"),
    Action("GetDiagnostics", "central", "FirmwareManagement", "diagnostics"),
    Action("UpdateFirmware", "central", "FirmwareManagement", "firmware"),
    Action("GetLocalListVersion", "central", "LocalAuthListManagement", "authorization"),
    Action("SendLocalList", "central", "LocalAuthListManagement", "authorization"),
    Action("CancelReservation", "central", "Reservation", "reservation"),
    Action("ReserveNow", "central", "Reservation", "reservation"),
    Action("ClearChargingProfile", "central", "SmartCharging", "smart_charging"),
    Action("GetCompositeSchedule", "central", "SmartCharging", "smart_charging"),
    Action("SetChargingProfile", "central", "SmartCharging", "smart_charging"),
    Action("TriggerMessage", "central", "RemoteTrigger", "provisioning"),
    Action("CertificateSigned", "central", "Security", "security"),
    Action("DeleteCertificate", "central", "Security", "security"),
    Action("ExtendedTriggerMessage", "central", "Security", "provisioning"),
    Action("GetInstalledCertificateIds", "central", "Security", "security"),
    Action("GetLog", "central", "Security", "diagnostics"),
    Action("InstallCertificate", "central", "Security", "security"),
    Action("LogStatusNotification", "charger", "Security", "diagnostics"),
    Action("SecurityEventNotification", "charger", "Security", "security"),
    Action("SignCertificate", "charger", "Security", "security"),
    Action("SignedFirmwareStatusNotification", "charger", "Security", "firmware"),
    Action("SignedUpdateFirmware", "central", "Security", "firmware"),
)

ACTIONS: Final[dict[str, Action]] = {action.name: action for action in _TABLE}
FROM_CHARGER: Final = frozenset(action.name for action in _TABLE if action.sender != "central")
FROM_CENTRAL: Final = frozenset(action.name for action in _TABLE if action.sender != "charger")
