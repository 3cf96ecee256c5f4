"""Handing a mail to a mail server (RFC 5321), by the address in `OHMSTEAD_SMTP_URL`."""

from email.message import EmailMessage
from email.utils import format_datetime, formataddr
from urllib.parse import unquote, urlsplit

import aiosmtplib

from ohmstead.core.config import Settings
from ohmstead.mail.models import Mail

SECONDS = 30.0


class MailRefused(Exception):
    """The mail server will not take this mail, now or later."""


class MailServerAway(Exception):
    """The mail server cannot be reached, or asks to come back later."""


def message_of(settings: Settings, mail: Mail) -> EmailMessage:
    """Build the message. Its Message-ID is that of the row: a second try is the same mail to the receiver."""
    sender_domain = settings.mail_from.rpartition("@")[2]
    message = EmailMessage()
    message["From"] = formataddr((settings.mail_name, settings.mail_from))
    message["To"] = mail.recipient
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(mail.created_at)
    message["Message-ID"] = f"<{mail.id}@{sender_domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text or "")
    if mail.html:
        message.add_alternative(mail.html, subtype="html")
    return message


async def deliver(settings: Settings, mail: Mail) -> None:
    """Hand one mail to the server. Raises `MailRefused` (do not try again) or `MailServerAway` (do).

    `smtp://` begins in plain and turns to TLS where the server offers it, and must when there is a
    password; `smtps://` is TLS from the first byte.
    """
    if settings.smtp_url is None:
        raise MailServerAway("no mail server is set")
    parts = urlsplit(settings.smtp_url.get_secret_value())
    secure = parts.scheme == "smtps"
    try:
        await aiosmtplib.send(
            message_of(settings, mail),
            hostname=parts.hostname,
            port=parts.port or (465 if secure else 587 if parts.username else 25),
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            use_tls=secure,
            start_tls=None if secure or not parts.username or "plain" in parts.query else True,
            timeout=SECONDS,
        )
    except aiosmtplib.SMTPRecipientsRefused as error:
        codes = {one.code for one in error.recipients}
        if all(code >= 500 for code in codes):
            raise MailRefused(_said(error.recipients[0])) from error
        raise MailServerAway(_said(error.recipients[0])) from error
    except aiosmtplib.SMTPResponseException as error:
        lasting = error.code >= 500 and not isinstance(error, aiosmtplib.SMTPAuthenticationError)
        raise (MailRefused if lasting else MailServerAway)(_said(error)) from error
    except (aiosmtplib.SMTPException, OSError) as error:
        raise MailServerAway(str(error)[:300] or type(error).__name__) from error


def _said(error: aiosmtplib.SMTPResponseException) -> str:
    return f"{error.code} {error.message}"[:300]
