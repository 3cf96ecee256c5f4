"""What a charger's word makes of an update: a table, and the rules for words that come late or twice.

The words are those of FirmwareStatusNotification (OCPP 1.6 7.25) and of its signed sister (security
whitepaper 6.9). They have no time of their own and come again after a reconnect, in any order.
"""

from typing import Final

from ohmstead.fleet.firmware.models import OPEN, UpdateState

IDLE: Final = "Idle"
"""It does nothing at the moment: an answer to TriggerMessage, and no word about an update."""
INSTALLED: Final = "Installed"
DOWNLOAD_FAILED: Final = "DownloadFailed"

ON_THE_WAY: Final = frozenset(
    {
        "DownloadScheduled",
        "Downloading",
        "DownloadPaused",
        "Downloaded",
        "SignatureVerified",
        "InstallScheduled",
        "Installing",
        "InstallRebooting",
    }
)
AFTER_THE_DOWNLOAD: Final = frozenset(
    {"Downloaded", "SignatureVerified", "InstallScheduled", "Installing", "InstallRebooting"}
)
"""After these a boot may be that of the new firmware."""
FAILURES: Final = {
    DOWNLOAD_FAILED: "The charger could not download the firmware.",
    "InstallationFailed": "The charger could not install the firmware.",
    "InvalidSignature": "The charger says that the signature is not that of the firmware.",
    "InstallVerificationFailed": "The charger installed the firmware and found it faulty.",
}


def state_after(
    state: UpdateState, status: str, *, confirmed: bool, tries_left: bool, may_open: bool
) -> UpdateState:
    """Return the state of an update after a word of the charger about it.

    - Words of progress open an update again that was given up (it tries anew), unless another one is open
      (`may_open`), but never one that was installed: then they are late.
    - A failed download is not the end while the charger was told to try again (`tries_left`).
    - `Installed` is the end wherever it stood before. A failure after it counts unless a boot with the new
      version has confirmed it.
    """
    if status in ON_THE_WAY:
        if state in OPEN or (may_open and state is not UpdateState.INSTALLED):
            return UpdateState.RUNNING
        return state
    if status == INSTALLED:
        return UpdateState.INSTALLED
    if status in FAILURES:
        if status == DOWNLOAD_FAILED and state in OPEN and tries_left:
            return UpdateState.RUNNING
        if state is UpdateState.REPLACED or (state is UpdateState.INSTALLED and confirmed):
            return state
        return UpdateState.FAILED
    return state


def same_version(one: str | None, other: str | None) -> bool:
    """Tell whether two versions are the same, whatever their case."""
    return one is not None and other is not None and one.strip().lower() == other.strip().lower()


def confirmed_by_boot(
    *,
    state: UpdateState,
    status: str | None,
    expected: str | None,
    before: str | None,
    booted: str | None,
) -> bool | None:
    """Tell what a boot with version `booted` says of an update: installed, not installed, or nothing (None).

    Where the version is not known beforehand (`expected` None), another one than before is taken as it. A
    boot with the version of before says nothing while the update is on its way, nor where it is the same.
    """
    if booted is None:
        return None
    installed = state is UpdateState.INSTALLED
    on_its_way = state in OPEN and status in AFTER_THE_DOWNLOAD
    if not (installed or on_its_way):
        return None
    changed = not same_version(booted, before)
    if expected is None:
        return True if changed else None
    if same_version(booted, expected):
        return True if installed or changed else None
    return False if installed else None
