"""E-mail addresses as names to sign in with: one spelling for each."""

import unicodedata

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email

from ohmstead.core.errors import Invalid

for _name in ("local", "localhost", "test"):
    # Installations on a private network and demos sign in as admin@ohmstead.local. The package
    # documents this list as the place to say so.
    if _name in SPECIAL_USE_DOMAIN_NAMES:
        SPECIAL_USE_DOMAIN_NAMES.remove(_name)


LIKE_PLAIN_ONES = frozenset("\u0131\u0237\u0251\u0261\u0269\u026f\u028b\u0185\u01a8\u01bd")
"""Latin letters like a, b, g, i, j, s, v, w. Small capitals and clicks go by their names: LATIN LETTER ..."""
UNSEEN_MARKS = frozenset(map(chr, (0x34F, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10))))
"""The joiner of graphemes, and selectors of variants."""
COMPOSED = frozenset({"LATIN", "GREEK", "CYRILLIC"})
"""In these scripts a letter and its mark are one character (Unicode NFC); a mark alone is a disguise."""
ONE_SCRIPT = {
    **dict.fromkeys(("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "IDEOGRAPHIC"), "CJK"),
    **dict.fromkeys(("ARABIC-INDIC", "EXTENDED"), "ARABIC"),
}
"""Scripts that are written together, and digits whose names begin in another way."""


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
    `1.2.3.4`; RFC 3696 2: the last label is not all digits); and for one that looks like another.
    """
    address = normalise_email(text)
    domain = address.rpartition("@")[2]
    if "." not in domain or domain.rpartition(".")[2].isdigit():
        fault = f"has no whole domain behind the @: {domain} should read like example.com"
        raise Invalid(f"The e-mail address {fault}.", fields={"email": fault})
    if looks_like_another(address):
        fault = "has letters or signs that make it look like another address"
        raise Invalid(f"The e-mail address {fault}.", fields={"email": fault})
    return address


def looks_like_another(address: str) -> bool:
    """Tell whether an address in its one spelling may be read as another one (Unicode TR 39).

    That is so for letters of two scripts (a Cyrillic a among Latin ones; the last label counts for none:
    `.com` stands behind every alphabet), for forms of plain letters, for marks that no letter needs or nobody
    sees, and for every sign beyond ASCII.
    """
    local, _, domain = address.rpartition("@")
    text = f"{local}@{domain.rpartition('.')[0] or domain}"
    if unicodedata.normalize("NFKC", text) != text:
        return True
    scripts, marked = set(), False
    for sign in text:
        kind = unicodedata.category(sign)
        if sign in LIKE_PLAIN_ONES or unicodedata.name(sign, "").startswith("LATIN LETTER "):
            return True
        if kind.startswith("L") or (kind == "Nd" and not sign.isascii()):
            scripts.add(_script(sign))
        elif kind.startswith("M") and sign not in UNSEEN_MARKS:
            marked = True
        elif not sign.isascii():
            return True
    return len(scripts) > 1 or (marked and scripts <= COMPOSED)


def _script(sign: str) -> str:
    """Return the script of a letter or a digit, by the first word of its name in Unicode."""
    script = unicodedata.name(sign, "?").split()[0]
    return ONE_SCRIPT.get(script, script)
