"""The kinds of work that campaigns do at chargers: one line for each subject's `KIND`."""

from ohmstead.fleet.campaigns.work import Kind
from ohmstead.fleet.configuration import apply as configuration
from ohmstead.fleet.diagnostics import apply as diagnostics
from ohmstead.fleet.firmware import apply as firmware
from ohmstead.fleet.local_lists import apply as local_lists

ALL: tuple[Kind, ...] = (configuration.KIND, firmware.KIND, diagnostics.KIND, local_lists.KIND)

KINDS: dict[str, Kind] = {kind.name: kind for kind in ALL}
"""By the name in `POST /api/admin/campaigns`."""
