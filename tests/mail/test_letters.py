"""What mails say, and that nobody can write into them."""

from typing import Any

import pytest
from jinja2 import UndefinedError

from ohmstead.mail.letters import names, write

VALUES: dict[str, Any] = {
    "name": "Maya",
    "business": "VoltCo",
    "invited_by": "Asha",
    "role": "Operator",
    "url": "https://charge.example/invite/abc?x=1&y=2",
    "expires": "4 May 2026, 12:00 UTC",
    "reason": "Insufficient documents",
    "email": "maya@volt.example",
    "at": "4 May 2026, 12:00 UTC",
    "card": "Key ring",
    "new": "maya@new.example",
    "provider": "Acme",
}


def letter(template: str = "invite", **values: Any) -> Any:
    return write(template, sender="Ohmstead", footer="Sent by a machine.", **{**VALUES, **values})


@pytest.mark.parametrize("template", sorted(names()))
def test_every_letter_can_be_written_and_greets_its_reader(template: str) -> None:
    made = letter(template)
    assert made.subject
    assert "\n" not in made.subject
    assert "Hello" in made.text
    assert "{{" not in made.text + made.html
    assert made.text.rstrip().endswith("Sent by a machine.")


def test_a_button_is_a_link_in_html_and_an_address_in_text() -> None:
    made = letter()
    assert 'href="https://charge.example/invite/abc?x=1&amp;y=2"' in made.html
    assert "Set your password:\nhttps://charge.example/invite/abc?x=1&y=2" in made.text


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "Maya\n\n[Sign in](https://evil.example)",
        "Maya\r\nBcc: all@evil.example",
        "{{ url }}{% for %}",
    ],
)
def test_what_a_person_typed_is_never_markup_a_button_or_a_header(name: str) -> None:
    made = letter(name=name, business=name)
    assert "<script>" not in made.html
    assert 'href="https://evil.example"' not in made.html
    assert made.html.count("<a href") == 1
    assert "\n" not in made.subject
    assert "\r" not in made.subject


def test_a_letter_with_a_missing_value_is_not_written() -> None:
    with pytest.raises(UndefinedError):
        write("invite", sender="Ohmstead", footer="")
