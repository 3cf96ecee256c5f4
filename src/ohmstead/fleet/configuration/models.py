"""What is known of the configuration of chargers, and what it should be."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, String, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from ohmstead.core.db import Base


class Ending(StrEnum):
    """How the last look at a charger by its template ended."""

    DONE = "Done"
    UNANSWERED = "Unanswered"
    REFUSED = "Refused"
    AWAY = "Away"
    BROKEN = "Broken"


class ConfigurationKey(Base):
    """The last known state of one key of a charger. Keys have no case (OCPP 1.6 9.): `folded` is lower case.

    `value` was read, or accepted, at `read_at` by the command `read_by`. `supported` is False when the
    charger said that it does not know the key. What was asked of it last is in `asked_*`: a value that waits
    for a restart, or was refused. Values of secret keys are never kept. `tries` counts how often a template
    sent `tried_value` since the charger last had it.
    """

    __tablename__ = "fleet_configuration_key"

    charger_id: Mapped[str] = mapped_column(
        ForeignKey("stations_charger.id", ondelete="CASCADE", onupdate="CASCADE"), primary_key=True
    )
    folded: Mapped[str] = mapped_column(String(100), primary_key=True)
    key: Mapped[str] = mapped_column(String(100))
    value: Mapped[str | None] = mapped_column(Text)
    readonly: Mapped[bool | None]
    supported: Mapped[bool] = mapped_column(default=True, server_default="true")
    read_at: Mapped[datetime | None]
    read_by: Mapped[str | None] = mapped_column(String(40))
    asked_value: Mapped[str | None] = mapped_column(Text)
    asked_status: Mapped[str | None] = mapped_column(String(40))
    asked_at: Mapped[datetime | None]
    tries: Mapped[int] = mapped_column(default=0, server_default="0")
    tried_value: Mapped[str | None] = mapped_column(Text)


class ConfigurationChange(Base):
    """A key that became another: seen by GetConfiguration, or accepted by ChangeConfiguration.

    `status` is the charger's answer to a ChangeConfiguration: `Accepted`, or `RebootRequired` for what takes
    effect after a restart.
    """

    __tablename__ = "fleet_configuration_change"
    __table_args__ = (
        Index("ix_fleet_configuration_change_charger", "charger_id", "id"),
        Index("ix_fleet_configuration_change_age", "at", postgresql_using="brin"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    charger_id: Mapped[str] = mapped_column(
        ForeignKey("stations_charger.id", ondelete="CASCADE", onupdate="CASCADE")
    )
    at: Mapped[datetime]
    key: Mapped[str] = mapped_column(String(100))
    from_value: Mapped[str | None] = mapped_column(Text)
    to_value: Mapped[str | None] = mapped_column(Text)
    command: Mapped[str] = mapped_column(String(40))
    status: Mapped[str | None] = mapped_column(String(40))


class ConfigurationTemplate(Base):
    """Keys and the values that chargers of a business should have; `everywhere`: all of them.

    `keys` are pairs of name and value in the order in which they are sent; no name is there twice, in any
    case.
    """

    __tablename__ = "fleet_configuration_template"
    __table_args__ = (
        Index(
            "uq_fleet_configuration_template_name",
            "backoffice_id",
            text("lower(name)"),
            unique=True,
        ),
        Index(
            "uq_fleet_configuration_template_everywhere",
            "backoffice_id",
            unique=True,
            postgresql_where=text("everywhere"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    backoffice_id: Mapped[UUID] = mapped_column(ForeignKey("accounts_backoffice.id"))
    name: Mapped[str] = mapped_column(String(200))
    keys: Mapped[list[Any]] = mapped_column(JSONB)
    everywhere: Mapped[bool] = mapped_column(default=False, server_default="false")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class TemplateStation(Base):
    """The template of a station; a station has at most one."""

    __tablename__ = "fleet_configuration_station"

    station_id: Mapped[UUID] = mapped_column(
        ForeignKey("stations_station.id", ondelete="CASCADE"), primary_key=True
    )
    template_id: Mapped[UUID] = mapped_column(
        ForeignKey("fleet_configuration_template.id", ondelete="CASCADE"), index=True
    )


class ConfigurationTurn(Base):
    """Whether a template must be held against a charger, and how that ended the last time.

    `due_at` is set by an accepted boot, and cleared when it is done. Whoever works on it holds it until
    `claimed_until`. Writers of a charger's keys lock its row: there is one for each charger with keys.
    """

    __tablename__ = "fleet_configuration_turn"
    __table_args__ = (
        Index("ix_fleet_configuration_turn_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    )

    charger_id: Mapped[str] = mapped_column(
        ForeignKey("stations_charger.id", ondelete="CASCADE", onupdate="CASCADE"), primary_key=True
    )
    due_at: Mapped[datetime | None]
    claimed_until: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0, server_default="0")
    ending: Mapped[str | None] = mapped_column(String(20))
    detail: Mapped[str | None] = mapped_column(Text)
    ended_at: Mapped[datetime | None]
