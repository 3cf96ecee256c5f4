"""Meter values of a session, made as short as a sentence."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from ohmstead.charging.models import MeterValue, Session


def sample(row: Session, seconds: float, register: float | None, **fields: Any) -> MeterValue:
    assert row.started_at is not None
    assert row.connector_id is not None
    at = row.started_at + timedelta(seconds=seconds)
    return MeterValue(
        **{
            "charger_id": row.charger_id,
            "connector_id": row.connector_id,
            "transaction_id": row.ocpp_transaction_id,
            "sampled_at": at,
            "digest": uuid4().int % 2**62,
            "received_at": at,
            "register_wh": None if register is None else Decimal(str(register)),
            "sampled_values": [{"value": str(register)}],
            **fields,
        }
    )
