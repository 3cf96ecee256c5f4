"""E-mail addresses as names to sign in with: one spelling for each."""

import unicodedata

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


def new_email(text: str) -> str:
    """Return the one spelling of an address that is to become somebody's name here.

    Raises `Invalid` for what is no address; for one whose domain is no name that mail could go to (`volt`,
    `1.2.3.4`; RFC 3696 2: the last label is not all digits); and for one that looks like another: letters of
    two scripts (a Cyrillic a among Latin ones), or letters that are only another form of plain ones. The last
    label counts for no script: `.com` stands behind every alphabet.
    """
    address = normalise_email(text)
    local, _, domain = address.rpartition("@")
    if "." not in domain or domain.rpartition(".")[2].isdigit():
        fault = f"has no whole domain behind the @: {domain} should read like example.com"
        raise Invalid(f"The e-mail address {fault}.", fields={"email": fault})
    scripts = {_script(letter) for letter in local + domain.rpartition(".")[0] if letter.isalpha()}
    if len(scripts) > 1 or unicodedata.normalize("NFKC", address) != address:
        fault = "mixes letters of several scripts, which makes it look like another address"
        raise Invalid(f"The e-mail address {fault}.", fields={"email": fault})
    return address


def _script(letter: str) -> str:
    """Return the script of a letter, by the first word of its name in Unicode."""
    script = unicodedata.name(letter, "?").split()[0]
    return "CJK" if script in {"HIRAGANA", "KATAKANA", "HANGUL"} else script
