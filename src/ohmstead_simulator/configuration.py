"""The configuration keys of a charge point (OCPP 1.6 chapter 9 and the security whitepaper)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["Accepted", "Rejected", "RebootRequired", "NotSupported"]

MEASURANDS = frozenset(
    {
        "Energy.Active.Import.Register",
        "Power.Active.Import",
        "Current.Import",
        "Voltage",
        "SoC",
        "Power.Offered",
    }
)
"""What the simulated meter can measure."""


def is_count(value: str) -> bool:
    """A whole number from 0 to 2^31 - 1, as the integer keys want it."""
    return value.isascii() and value.isdigit() and int(value) < 2**31


def is_flag(value: str) -> bool:
    """`true` or `false`, in any case (OCPP 1.6 9.)."""
    return value.lower() in ("true", "false")


def is_measurands(value: str) -> bool:
    """A comma list of measurands that this meter knows; the empty list is allowed."""
    return all(part.strip() in MEASURANDS for part in value.split(",")) if value else True


def is_text(value: str) -> bool:
    """Anything that fits into the 500 characters of a configuration value."""
    return len(value) <= 500


@dataclass(slots=True)
class Key:
    """One key: its value, who may change it, and what a right value is."""

    value: str
    right: Callable[[str], bool] = is_text
    readonly: bool = False
    reboot: bool = False
    hidden: bool = False
    """Write-only: never shown by GetConfiguration (AuthorizationKey)."""


def _defaults(connectors: int) -> dict[str, Key]:
    sampled = "Energy.Active.Import.Register,Power.Active.Import,Current.Import,Voltage,SoC"

    def fixed(value: str) -> Key:
        return Key(value, readonly=True)

    return {
        # 9.1 Core
        "AllowOfflineTxForUnknownId": Key("false", is_flag),
        "AuthorizationCacheEnabled": Key("true", is_flag),
        "AuthorizeRemoteTxRequests": Key("false", is_flag),
        "ClockAlignedDataInterval": Key("0", is_count),
        "ConnectionTimeOut": Key("60", is_count),
        "ConnectorPhaseRotation": Key("NotApplicable"),
        "GetConfigurationMaxKeys": fixed("60"),
        "HeartbeatInterval": Key("300", is_count),
        "LocalAuthorizeOffline": Key("true", is_flag),
        "LocalPreAuthorize": Key("false", is_flag),
        "MeterValuesAlignedData": Key("Energy.Active.Import.Register", is_measurands),
        "MeterValuesSampledData": Key(sampled, is_measurands),
        "MeterValueSampleInterval": Key("60", is_count),
        "NumberOfConnectors": fixed(str(connectors)),
        "ResetRetries": Key("1", is_count),
        "StopTransactionOnEVSideDisconnect": Key("true", is_flag),
        "StopTransactionOnInvalidId": Key("true", is_flag),
        "StopTxnAlignedData": Key("", is_measurands),
        "StopTxnSampledData": Key("", is_measurands),
        "SupportedFeatureProfiles": fixed(
            "Core,FirmwareManagement,LocalAuthListManagement,Reservation,SmartCharging,RemoteTrigger"
        ),
        "TransactionMessageAttempts": Key("3", is_count),
        "TransactionMessageRetryInterval": Key("10", is_count),
        "UnlockConnectorOnEVSideDisconnect": Key("true", is_flag),
        "WebSocketPingInterval": Key("30", is_count, reboot=True),
        # 9.2 Local authorization list
        "LocalAuthListEnabled": Key("true", is_flag),
        "LocalAuthListMaxLength": fixed("1000"),
        "SendLocalListMaxLength": fixed("100"),
        # 9.3 Reservation
        "ReserveConnectorZeroSupported": fixed("false"),
        # 9.4 Smart charging
        "ChargeProfileMaxStackLevel": fixed("10"),
        "ChargingScheduleAllowedChargingRateUnit": fixed("Current,Power"),
        "ChargingScheduleMaxPeriods": fixed("24"),
        "ConnectorSwitch3to1PhaseSupported": fixed("false"),
        "MaxChargingProfilesInstalled": fixed("20"),
        # Security whitepaper
        "AdditionalRootCertificateCheck": fixed("false"),
        "AuthorizationKey": Key("", lambda value: 16 <= len(value) <= 40, hidden=True),
        "CertificateSignedMaxChainSize": fixed("10000"),
        "CertificateStoreMaxLength": fixed("10"),
        "CpoName": Key("Ohmstead"),
        "SecurityProfile": Key("0", lambda value: value in ("0", "1", "2", "3"), reboot=True),
    }


class Configuration:
    """The key store. It outlives reboots; keys marked `reboot` take effect only after one."""

    def __init__(self, connectors: int, overrides: Mapping[str, str] | None = None) -> None:
        """`overrides` are factory settings: they may set read-only keys and add vendor keys."""
        self._keys = _defaults(connectors)
        for name, value in (overrides or {}).items():
            known = self._keys.get(name)
            if known is None:
                self._keys[name] = Key(value)
            elif not known.right(value):
                raise ValueError(f"configuration key {name} cannot be {value!r}")
            else:
                known.value = value
        self._pending: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        return self._keys[name].value

    def number(self, name: str) -> int:
        """The value of an integer key."""
        return int(self._keys[name].value)

    def flag(self, name: str) -> bool:
        """The value of a boolean key."""
        return self._keys[name].value.lower() == "true"

    def measurands(self, name: str) -> list[str]:
        """The value of a measurand list, in its order."""
        return [part.strip() for part in self._keys[name].value.split(",") if part.strip()]

    def set_own(self, name: str, value: str) -> None:
        """The charge point changes a key by itself (the interval that BootNotification.conf brings)."""
        self._keys[name].value = value

    def change(self, name: str, value: str) -> Outcome:
        """ChangeConfiguration.req (OCPP 1.6 5.3)."""
        key = self._keys.get(name)
        if key is None:
            return "NotSupported"
        if key.readonly or not key.right(value):
            return "Rejected"
        if key.reboot:
            self._pending[name] = value
            return "RebootRequired"
        key.value = value
        return "Accepted"

    def rebooted(self) -> None:
        """Values that waited for a reboot take effect."""
        for name, value in self._pending.items():
            self._keys[name].value = value
        self._pending.clear()

    def listing(self, names: list[str] | None) -> tuple[list[dict[str, object]], list[str]]:
        """GetConfiguration.req (OCPP 1.6 5.8): the keys asked for (all when none) and the unknown ones."""
        wanted = names or [name for name, key in self._keys.items() if not key.hidden]
        known: list[dict[str, object]] = []
        unknown: list[str] = []
        for name in wanted:
            key = self._keys.get(name)
            if key is None or key.hidden:
                unknown.append(name)
            else:
                known.append({"key": name, "readonly": key.readonly, "value": key.value})
        return known, unknown
