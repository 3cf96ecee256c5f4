"""Every message that a charger may send in OCPP 1.6, and the one function that serves it."""

from ohmstead.gateway.route import Route
from ohmstead.gateway.v16 import (
    authorization,
    availability,
    data_transfer,
    diagnostics,
    firmware,
    metering,
    provisioning,
    security,
    transactions,
)

ROUTES: dict[str, Route] = {
    "Authorize": Route(authorization.authorize),
    "BootNotification": Route(provisioning.boot_notification),
    "DataTransfer": Route(data_transfer.data_transfer),
    "DiagnosticsStatusNotification": Route(diagnostics.diagnostics_status),
    "FirmwareStatusNotification": Route(firmware.firmware_status),
    "Heartbeat": Route(availability.heartbeat, availability.hot_heartbeat),
    "LogStatusNotification": Route(diagnostics.log_status),
    "MeterValues": Route(metering.meter_values, metering.hot_meter_values),
    "SecurityEventNotification": Route(security.security_event),
    "SignCertificate": Route(security.sign_certificate),
    "SignedFirmwareStatusNotification": Route(firmware.signed_firmware_status),
    "StartTransaction": Route(transactions.start_transaction),
    "StatusNotification": Route(availability.status_notification, availability.hot_status_notification),
    "StopTransaction": Route(transactions.stop_transaction),
}

refused_stop = transactions.refused_stop
stop_in = transactions.stop_in
measure_again = metering.measure_again
