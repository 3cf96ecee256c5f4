"""What the mails say: a template in plain text becomes the text and the HTML of one mail.

A template is a file of `letters/`: the subject, an empty line, then paragraphs. A line of the form
`[words](address)` that stands alone is shown as a button. What is put in is never taken as markup.
"""

import re
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parent / "letters"
_BUTTON = re.compile(r"^\[(?P<words>[^\]]+)\]\((?P<address>https?://\S+)\)$")

_PAGE = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{subject}</title></head>
<body style="margin:0;background:#f3f5f4;font-family:-apple-system,'Segoe UI',Roboto,Arial,sans-serif">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0"><tr><td align="center"
 style="padding:32px 16px">
<table role="presentation" width="560" cellpadding="0" cellspacing="0" style="max-width:560px;width:100%">
<tr><td style="padding:0 0 16px 4px;font-size:15px;font-weight:600;color:#0d5c46">{sender}</td></tr>
<tr><td style="background:#fff;border-radius:12px;padding:32px;border:1px solid #e2e7e5">
<h1 style="margin:0 0 16px;font-size:20px;line-height:1.3;color:#12211c">{subject}</h1>
{body}
</td></tr>
<tr><td style="padding:16px 4px;font-size:12px;line-height:1.5;color:#64736d">{footer}</td></tr>
</table></td></tr></table></body></html>
"""
_PARAGRAPH = '<p style="margin:0 0 16px;font-size:15px;line-height:1.6;color:#2b3a35">{text}</p>'
_LINK = (
    '<p style="margin:24px 0"><a href="{address}" style="display:inline-block;background:#0d7a5c;color:#fff;'
    'text-decoration:none;font-size:15px;font-weight:600;padding:12px 22px;border-radius:8px">{words}</a></p>'
    '<p style="margin:0 0 16px;font-size:12px;line-height:1.5;color:#64736d;word-break:break-all">'
    "{address}</p>"
)


@dataclass(frozen=True, slots=True)
class Letter:
    """One mail in words."""

    subject: str
    text: str
    html: str


@cache
def _templates() -> Environment:
    # Plain text: nothing is escaped here, the HTML is made of the finished text and escapes all of it.
    return Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=False,  # noqa: S701 # see above
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )


def names() -> set[str]:
    """Return the templates that there are."""
    return {file.stem for file in FOLDER.glob("*.txt")}


def write(template: str, *, sender: str, footer: str, **values: Any) -> Letter:
    """Write a mail. Raises jinja2's `UndefinedError` when a value is missing: that is a fault of ours."""
    plain = {name: _one_line(value) if isinstance(value, str) else value for name, value in values.items()}
    whole = _templates().get_template(f"{template}.txt").render(sender=sender, **plain).strip()
    subject, _, body = whole.partition("\n")
    paragraphs = [part.strip() for part in body.strip().split("\n\n") if part.strip()]
    return Letter(
        subject=subject.strip()[:300],
        text="\n\n".join([*map(_as_text, paragraphs), f"-- \n{footer}"]) + "\n",
        html=_PAGE.format(
            subject=escape(subject.strip()),
            sender=escape(sender),
            body="\n".join(map(_as_html, paragraphs)),
            footer=escape(footer),
        ),
    )


def _one_line(value: str) -> str:
    """Keep what somebody typed from becoming a paragraph, a button or a header of its own."""
    return " ".join(value.split())


def _as_text(paragraph: str) -> str:
    found = _BUTTON.match(paragraph)
    return f"{found['words']}:\n{found['address']}" if found else paragraph


def _as_html(paragraph: str) -> str:
    found = _BUTTON.match(paragraph)
    if found:
        return _LINK.format(words=escape(found["words"]), address=escape(found["address"], quote=True))
    return _PARAGRAPH.format(text=escape(paragraph).replace("\n", "<br>"))
