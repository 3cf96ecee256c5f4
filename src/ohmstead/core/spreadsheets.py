"""Cells for spreadsheets: what one would run as a formula is told to be text, and reads back as it was."""

from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'")
"""What makes a spreadsheet look closer; the apostrophe so that reading back is exact."""


def safe_cell(value: Any) -> Any:
    """Return what to write into a cell. Numbers stay numbers."""
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return value


def cell_text(text: str) -> str:
    """Read a cell that `safe_cell` wrote, or that a person typed."""
    return text[1:] if text.startswith("'") and text[1:].startswith(FORMULA) else text
