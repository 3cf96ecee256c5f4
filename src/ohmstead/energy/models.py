"""Charging profiles that are kept, and those that chargers were told."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ForeignKey, Identity, Index, Integer, String, func, text
from sqlalchemy.orm import Mapped, mapped_column

from ohmstead.core.db import Base


class ChargingProfile(Base):
    """A charging profile of a business, to be given to chargers.

    `profile` is the ChargingProfile of OCPP 1.6 7.8 without what belongs to one charger: its id and its
    transaction. At every charger it has the id `number`, so that giving it again replaces it there.
    """

    __tablename__ = "energy_profile"
    __table_args__ = (
        Index("uq_energy_profile_name", "backoffice_id", text("lower(name)"), unique=True),
        Index("uq_energy_profile_number", "number", unique=True),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    number: Mapped[int] = mapped_column(Integer, Identity(start=1_000))
    backoffice_id: Mapped[UUID] = mapped_column(ForeignKey("accounts_backoffice.id"))
    name: Mapped[str] = mapped_column(String(200))
    profile: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class InstalledProfile(Base):
    """A charging profile that a charger has accepted, as it was sent, and has not been told to clear.

    One of each id at a charger (OCPP 1.6 5.16). `connector_id` is null for the profile of a remote start
    whose connector the charger was to choose. `profile_id` names the kept one that it was made of.
    """

    __tablename__ = "energy_installed_profile"
    __table_args__ = (
        Index("ix_energy_installed_profile_place", "charger_id", "connector_id", "purpose", "stack_level"),
    )

    charger_id: Mapped[str] = mapped_column(
        ForeignKey("stations_charger.id", ondelete="CASCADE", onupdate="CASCADE"), primary_key=True
    )
    charging_profile_id: Mapped[int] = mapped_column(primary_key=True)
    connector_id: Mapped[int | None]
    purpose: Mapped[str] = mapped_column(String(30))
    stack_level: Mapped[int]
    transaction_id: Mapped[int | None]
    profile: Mapped[dict[str, Any]]
    profile_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("energy_profile.id", ondelete="SET NULL"), index=True
    )
    told_at: Mapped[datetime]
