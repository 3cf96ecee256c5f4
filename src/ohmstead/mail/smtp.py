"""Handing a mail to a mail server (RFC 5321), by the address in `OHMSTEAD_SMTP_URL`."""

from email.message import EmailMessage
from email.utils import format_datetime, formataddr
from urllib.parse import unquote, urlsplit

import aiosmtplib
from email_validator import EmailNotValidError, validate_email

from ohmstead.core.config import Settings
from ohmstead.mail.models import Mail

SECONDS = 30.0
NO_SMTPUTF8 = "The mail server cannot take the letters before the @: it has no SMTPUTF8 (RFC 6531)."


class MailRefused(Exception):
    """The mail server will not take this mail, now or later."""


class MailServerAway(Exception):
    """The mail server cannot be reached, or asks to come back later."""


def message_of(settings: Settings, mail: Mail) -> EmailMessage:
    """Build the message. Its Message-ID is that of the row: a second try is the same mail to the receiver."""
    sender = _on_the_wire(settings.mail_from)
    sender_domain = sender.rpartition("@")[2]
    message = EmailMessage()
    message["From"] = formataddr((settings.mail_name, sender))
    message["To"] = _on_the_wire(mail.recipient)
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(mail.created_at)
    message["Message-ID"] = f"<{mail.id}@{sender_domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text or "")
    if mail.html:
        message.add_alternative(mail.html, subtype="html")
    return message


def _on_the_wire(address: str) -> str:
    """Return an address with its domain as every mail server knows it (`xn--...`, RFC 5891)."""
    local, _, domain = address.rpartition("@")
    if domain.isascii():
        return address
    known = validate_email(f"any@{domain}", check_deliverability=False, globally_deliverable=False)
    return f"{local}@{known.ascii_domain}"


async def deliver(settings: Settings, mail: Mail) -> None:
    """Hand one mail to the server. Raises `MailRefused` (do not try again) or `MailServerAway` (do).

    `smtp://` begins in plain and turns to TLS where the server offers it, and must when there is a
    password; `smtps://` is TLS from the first byte.
    """
    if settings.smtp_url is None:
        raise MailServerAway("no mail server is set")
    parts = urlsplit(settings.smtp_url.get_secret_value())
    secure = parts.scheme == "smtps"
    client = aiosmtplib.SMTP(
        hostname=parts.hostname,
        port=parts.port or (465 if secure else 587 if parts.username else 25),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        use_tls=secure,
        start_tls=None if secure or not parts.username or "plain" in parts.query else True,
        timeout=SECONDS,
    )
    try:
        message = message_of(settings, mail)
        async with client:
            if not mail.recipient.rpartition("@")[0].isascii():
                await client.ehlo()
                if not client.supports_extension("smtputf8"):
                    raise MailRefused(NO_SMTPUTF8)
            await client.send_message(message)
    except EmailNotValidError as error:
        raise MailRefused(str(error)[:300]) from error
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
