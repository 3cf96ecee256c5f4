"""Alembic's entry: `core.migrations` hands in a connection; every domain's tables are imported here."""

from typing import Any

from alembic import context

import ohmstead.accounts.api_keys_models
import ohmstead.accounts.audit_models
import ohmstead.accounts.drivers_models
import ohmstead.accounts.mailed_tokens_models
import ohmstead.accounts.models
import ohmstead.accounts.oidc_models
import ohmstead.accounts.personal_data_models
import ohmstead.accounts.sign_in_models
import ohmstead.bookings.reservations_models
import ohmstead.charging.models
import ohmstead.core.files
import ohmstead.core.processes
import ohmstead.energy.models
import ohmstead.fleet.campaigns.models
import ohmstead.fleet.configuration.models
import ohmstead.fleet.diagnostics.models
import ohmstead.fleet.firmware.models
import ohmstead.fleet.local_lists.models
import ohmstead.gateway.models
import ohmstead.mail.models
import ohmstead.notifications.models
import ohmstead.stations.models  # noqa: F401 # importing a model registers its table
from ohmstead.core.db import Base


def ours(_: Any, name: str | None, kind: str, __: bool, compared_to: Any) -> bool:
    """Leave out what is not in the models on purpose: the queue's tables and the partitions."""
    if kind == "table" and compared_to is None:
        return name is not None and not name.startswith("procrastinate_") and "_p_" not in name
    return True


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    include_object=ours,
    compare_type=True,
    transaction_per_migration=True,
    on_version_apply=context.config.attributes.get("on_version_apply"),
)
with context.begin_transaction():
    context.run_migrations()
