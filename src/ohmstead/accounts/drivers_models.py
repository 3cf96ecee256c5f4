"""What only drivers have: their national identity card, and their vehicles."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID, uuid4

from sqlalchemy import ForeignKey, Index, Numeric, String, func, text
from sqlalchemy.orm import Mapped, mapped_column

from ohmstead.core.db import Base


class Driver(Base):
    """The national identity card number (NIC) of a driver, in capitals; nobody else has it.

    Drivers who came by another way than registration have no row until they give it.
    """

    __tablename__ = "accounts_driver"

    user_id: Mapped[UUID] = mapped_column(
        ForeignKey("accounts_user.id", ondelete="CASCADE"), primary_key=True
    )
    nic: Mapped[str] = mapped_column(String(20), unique=True, info={"personal": True})


class Vehicle(Base):
    """A car of a driver. A driver has a plate once."""

    __tablename__ = "accounts_vehicle"
    __table_args__ = (Index("uq_accounts_vehicle_plate", "driver_id", text("lower(plate)"), unique=True),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    driver_id: Mapped[UUID] = mapped_column(ForeignKey("accounts_user.id", ondelete="CASCADE"))
    plate: Mapped[str] = mapped_column(String(20), info={"personal": True})
    model: Mapped[str | None] = mapped_column(String(100), info={"personal": True})
    battery_kwh: Mapped[Decimal | None] = mapped_column(Numeric(6, 2))
    connector: Mapped[str | None] = mapped_column(String(40))
    max_kw: Mapped[Decimal | None] = mapped_column(Numeric(6, 2))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
