"""E-mail addresses as names to sign in with: one spelling for each."""

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email

from ohmstead.core.errors import Invalid

for _name in ("local", "localhost", "test"):
    # Installations on a private network and demos sign in as admin@ohmstead.local. The package
    # documents this list as the place to say so.
    if _name in SPECIAL_USE_DOMAIN_NAMES:
        SPECIAL_USE_DOMAIN_NAMES.remove(_name)


def normalise_email(text: str) -> str:
    """Return the one spelling of an address: trimmed, Unicode NFC, domain decoded, lower case.

    Raises `Invalid` for what is no address. Whether mail arrives there is not asked.
    """
    try:
        valid = validate_email(text.strip(), check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError as error:
        raise Invalid(
            "This is not an e-mail address. Write it like name@example.com.", fields={"email": str(error)}
        ) from error
    return valid.normalized.lower()
