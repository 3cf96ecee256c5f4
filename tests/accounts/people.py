"""People for tests, and the mail that they get."""

import re
from typing import Any
from uuid import UUID

from sqlalchemy import select
from tests.world import SignedIn, World

from ohmstead.accounts.audit_models import AuditEntry
from ohmstead.accounts.drivers_models import Driver
from ohmstead.accounts.models import Backoffice, Role
from ohmstead.core.db import Database
from ohmstead.mail.models import Mail

PASSWORD = "seven horses over the 9 bridges"


async def mails(db: Database, to: str, template: str | None = None) -> list[Mail]:
    """Return the mails to an address, the oldest first."""
    query = select(Mail).where(Mail.recipient == to).order_by(Mail.created_at)
    if template is not None:
        query = query.where(Mail.template == template)
    async with db.session() as session:
        return list((await session.execute(query)).scalars())


async def link(db: Database, to: str, path: str) -> str:
    """Return what stands behind `path` in the only mail to an address that has such a link and is newest."""
    texts = [mail.text or "" for mail in await mails(db, to)]
    found = [hit[1] for text in texts for hit in re.finditer(rf"https?://\S+{path}(\S+)", text)]
    assert found, texts
    return found[-1]


async def driver(world: World, nic: str | None = None, **fields: Any) -> SignedIn:
    """Make a driver with a NIC, or without."""
    made = await world.user(Role.EV_OWNER, **fields)
    if nic is not None:
        await world.add(Driver(user_id=made.id, nic=nic))
    return made


async def charged(world: World, who: SignedIn, business: Backoffice, tag: str | None = None) -> None:
    """Let a driver have charged once with a business."""
    token = await world.token(id_tag=tag, driver_id=who.id, card_status="Active")
    charger = await world.charger(await world.station(business))
    await world.session(charger, token_id=token.id, id_tag=token.id_tag, id_tag_status="Accepted")


async def trail(db: Database, entity_id: UUID | str) -> list[str]:
    """Return what the audit trail says was done to something, in order."""
    query = select(AuditEntry.action).where(AuditEntry.entity_id == str(entity_id)).order_by(AuditEntry.id)
    async with db.session() as session:
        return list((await session.execute(query)).scalars())
