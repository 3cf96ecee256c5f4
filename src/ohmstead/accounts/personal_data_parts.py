"""What accounts, mail and the audit trail have about persons."""

from collections.abc import AsyncIterator
from datetime import timedelta

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, text, update

from ohmstead.accounts.audit_endpoints import readable
from ohmstead.accounts.audit_models import AuditEntry
from ohmstead.accounts.cards_standing import CardStatus
from ohmstead.accounts.mailed_tokens import Purpose
from ohmstead.accounts.mailed_tokens_models import MailedToken
from ohmstead.accounts.models import Token, TokenStatus, User, UserStatus
from ohmstead.accounts.person_keys import forget
from ohmstead.accounts.personal_data import (
    CHUNK,
    PATIENCE,
    Contribution,
    Person,
    Rows,
    Sheet,
    columns_of,
    erased_email,
    listed,
    pseudonym,
)
from ohmstead.accounts.personal_data_models import PersonalDataRequest
from ohmstead.core.clock import Clock
from ohmstead.core.db import Base, Database
from ohmstead.mail.models import Mail

SAME_MOMENT = timedelta(minutes=1)
"""The clock of the database, which dates mails, and that of this process may differ by so much."""
OF_BUSINESSES = ("business_requested", "business_approved", "business_rejected", "operator_created", "invite")
"""Letters to people for a business: a driver gets none of them."""
KEPT = frozenset({PersonalDataRequest.__tablename__})
"""Tables of accounts that keep their rows of somebody who was erased."""
SECRET = ("password_hash", "seed", "secret", "code_hash", "token_hash", "key_hash")


def own_tables() -> list[tuple[type[Base], str]]:
    """Return the tables of accounts whose rows go with their user, and the columns that tell it."""
    found = []
    for mapper in sorted(Base.registry.mappers, key=lambda one: str(one.local_table)):
        table = mapper.local_table
        if not str(table).startswith("accounts_") or str(table) in KEPT or mapper.class_ is Token:
            continue
        for column in table.columns:
            if any(key.column.table.name == User.__tablename__ for key in column.foreign_keys):
                found.append((mapper.class_, column.key))
    return found


async def _accounts(database: Database, person: Person, _: Clock) -> AsyncIterator[Sheet]:
    async with database.session() as session:
        user = await session.get(User, person.user_id)
        cards = (await session.scalars(select(Token).where(Token.driver_id == person.user_id))).all()
        yield Sheet("account", listed([] if user is None else [columns_of(user, *SECRET)]))
        yield Sheet("cards", listed([columns_of(card) for card in cards]))
        for owner, name in own_tables():
            rows = (await session.scalars(select(owner).where(getattr(owner, name) == person.user_id))).all()
            sheet = owner.__tablename__.removeprefix("accounts_")
            yield Sheet(sheet, listed([columns_of(row, *SECRET) for row in rows]))
        asked = select(PersonalDataRequest).where(PersonalDataRequest.user_id == person.user_id)
        requests = (await session.scalars(asked.order_by(PersonalDataRequest.created_at))).all()
        yield Sheet("personal_data", listed([columns_of(one, "file_id", "link_id") for one in requests]))


async def _erase_accounts(database: Database, person: Person, _: Clock) -> None:
    """Empty the account, and forget the keys of the person and of its cards, all at once.

    Entries of the trail stay, and say nothing of the person any more.
    """
    async with database.session() as session:
        await session.get(User, person.user_id, with_for_update=True)  # who writes now is before us, or late
        for owner, name in own_tables():
            await session.execute(delete(owner).where(getattr(owner, name) == person.user_id))
        for token_id in person.card_ids:
            await session.execute(
                update(Token)
                .where(Token.id == token_id)
                .values(
                    id_tag=pseudonym(token_id),
                    status=TokenStatus.INVALID,
                    card_status=CardStatus.REMOVED,
                    owner=None,
                    label=None,
                    parent_id_tag=None,
                )
            )
        await session.execute(
            update(User)
            .where(User.id == person.user_id)
            .values(
                email=erased_email(person.user_id),
                password_hash=None,
                name=None,
                phone=None,
                status=UserStatus.DEACTIVATED,
                email_verified_at=None,
                last_login_at=None,
            )
        )
        for one in (person.user_id, *person.card_ids):
            await forget(session, one)


async def _mails(database: Database, person: Person, _: Clock) -> AsyncIterator[Sheet]:
    async with database.session() as session:
        rows = (await session.scalars(select(Mail).where(_to(person)).order_by(Mail.created_at))).all()
        # Not the texts: a link in them lets somebody in.
        yield Sheet("mails", listed([columns_of(row, "text", "html") for row in rows]))


async def _erase_mails(database: Database, person: Person, _: Clock) -> None:
    async with database.session() as session:
        await session.execute(text(f"SET LOCAL statement_timeout = '{PATIENCE}'"))
        await session.execute(delete(Mail).where(or_(_to(person), _wished(person))))


def _to(person: Person) -> ColumnElement[bool]:
    """Return the condition on `Mail` for what was written to a person.

    An address may have been somebody else's before, and the contact of a business may have it too.
    """
    return and_(
        func.lower(Mail.recipient).in_([one.lower() for one in person.emails]),
        Mail.created_at >= person.since - SAME_MOMENT,
        Mail.template.not_in(OF_BUSINESSES),
    )


def _wished(person: Person) -> ColumnElement[bool]:
    """Return the condition on `Mail` for links to an address that the person, and nobody else, wished for."""
    wishes = select(MailedToken.email).where(MailedToken.purpose == Purpose.CHANGE_EMAIL)
    return and_(
        Mail.template == "email_change",
        Mail.recipient.in_(wishes.where(MailedToken.user_id == person.user_id)),
        Mail.recipient.not_in(wishes.where(MailedToken.user_id != person.user_id)),
    )


async def _trail(database: Database, person: Person, _: Clock) -> AsyncIterator[Sheet]:
    yield Sheet("audit_trail", _entries(database, person))


async def _entries(database: Database, person: Person) -> Rows:
    last = 0
    about = or_(
        AuditEntry.person_id.in_([person.user_id, *person.card_ids]),
        AuditEntry.actor_person_id == person.user_id,
    )
    while True:
        async with database.session() as session:
            query = select(AuditEntry).where(about, AuditEntry.id > last).order_by(AuditEntry.id).limit(CHUNK)
            rows = list((await session.scalars(query)).all())
            shown = await readable(session, rows)
        if not rows:
            return
        last = rows[-1].id
        for row, one in zip(rows, shown, strict=True):
            told = one.model_dump(mode="json")
            if row.actor_person_id != person.user_id:  # who did it is somebody else
                told |= {"actor_email": None, "actor_address": None}
            yield told


MAIL = Contribution("mail", _mails, _erase_mails)
AUDIT = Contribution("audit", _trail)
"""Erased with the accounts: the keys of the person and of its cards go."""
ACCOUNTS = Contribution("accounts", _accounts, _erase_accounts)
"""The last one: it says what the others have to look for."""
