"""Tables as people keep them in spreadsheets: reading CSV with every fault by its line, and writing it.

Lines are counted as an editor shows them: the heading is line 1. Taken is what spreadsheets write: UTF-8 with
or without a mark, commas or semicolons, quotes, line breaks within a cell. An empty cell says nothing.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ohmstead.core.errors import Invalid
from ohmstead.core.spreadsheets import cell_text, safe_cell
from ohmstead.fleet.onboarding.cells import Column, Misread

LINES = 5_000
"""In one file at most."""

HEADING = 1
"""The line that names the columns."""

STRANGE = 100
"""So many faults of a heading are told at most: what has more is a table of something else."""

BROKEN = 100
"""So many lines whose quotes are wrong are told of; a file of more is none that can be read."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one line; `column` is None for the line as a whole."""

    line: int
    column: str | None
    message: str


@dataclass(slots=True)
class Line:
    """One line: its number in the file, the cells that say something, and what is wrong with others."""

    number: int
    cells: dict[str, Any]
    faults: list[Fault] = field(default_factory=list)


@dataclass(slots=True)
class Sheet:
    """What was read: lines, and what is wrong with the heading and with what is no line at all."""

    lines: list[Line] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def read_sheet(content: bytes, columns: Mapping[str, Column], needed: str) -> Sheet:
    """Read a file, as far as it can be read, with what is wrong with the rest.

    Raises `Invalid` when it is no such table at all: not UTF-8, without the column `needed`, too long.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _no_table(f"is not UTF-8 (line {line}, byte {error.start}): save it as CSV UTF-8") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise _no_table(f"holds a NUL character (line {line}): it is no text")
    heading = text.partition("\n")[0]
    delimiter = ";" if heading.count(";") > heading.count(",") else "\t" if "\t" in heading else ","
    records = _records(list(io.StringIO(text, newline="")), delimiter)
    sheet = Sheet()
    _, names = next(records, (1, []))
    if isinstance(names, str):
        raise _no_table(f"has a heading that cannot be read: {names}")
    names = [name.strip().lower() for name in names]
    sheet.faults += islice(_heading_faults(names, columns), STRANGE)
    if needed not in names:
        others = "".join(f". The column {one.column!r} {one.message}" for one in sheet.faults)
        raise _no_table(f"has no column {needed}: the first line names the columns{others}")
    for number, cells in records:
        if isinstance(cells, str):
            sheet.faults.append(Fault(number, None, f"cannot be read: {cells}"))
        elif any(cell.strip() for cell in cells):
            if len(sheet.lines) >= LINES:
                raise _no_table(f"has more than {LINES} lines: split it")
            sheet.lines.append(_read_line(number, names, cells, columns))
    return sheet


def _records(lines: Sequence[str], delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """Return the records of a file with the line that each begins in; for one that is none, what is wrong.

    After such a one it goes on with the next line: who forgets a quote is told of all other lines too.
    """
    begin = 1
    broken = 0
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    before = 0  # lines that this reader was not given
    while True:
        try:
            for cells in reader:
                yield begin, cells
                begin = before + reader.line_num + 1
            return
        except csv.Error as error:
            broken += 1
            more = "" if broken < BROKEN else "; nor was what follows looked at"
            yield begin, f"{error}. A cell in quotes ends with one, and has those within it twice{more}"
            if broken >= BROKEN:
                return
            before, begin = begin, begin + 1
            reader = csv.reader(lines[before:], delimiter=delimiter, strict=True)


def _heading_faults(names: Sequence[str], columns: Mapping[str, Column]) -> Iterator[Fault]:
    for name, count in Counter(name for name in names if name).items():
        if name not in columns:
            known = ", ".join(columns)
            yield Fault(HEADING, name[:60], f"is not known: take it out, or name it as one of {known}")
        if count > 1:
            yield Fault(HEADING, name[:60], f"is there {count} times: take out all but one")


def _read_line(
    number: int, names: Sequence[str], cells: Sequence[str], columns: Mapping[str, Column]
) -> Line:
    line = Line(number, {})
    if any(cell.strip() for cell in cells[len(names) :]):
        what = f"has {len(cells)} cells, the heading {len(names)}: take those at the end out, or put quotes"
        line.faults.append(Fault(number, None, f"{what} around a cell that holds what stands between cells"))
    unread = set(columns)
    for name, cell in zip(names, cells, strict=False):
        text = cell_text(cell.strip()).strip()
        if name not in unread:
            continue
        unread.remove(name)
        if not text:
            continue
        try:
            line.cells[name] = columns[name].read(text)
        except Misread as error:
            line.faults += [Fault(number, name, fault) for fault in error.faults]
            if error.value is not None:
                line.cells[name] = error.value
        except ValueError as error:
            line.faults.append(Fault(number, name, str(error)))
    return line


def _no_table(what: str) -> Invalid:
    return Invalid(f"The file {what}.", code="TableInvalid", fields={"body": what})


def write_sheet(columns: Mapping[str, Column], rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Write a table, piece by piece; what a spreadsheet would run as a formula is told to be text."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(columns)
    for number, row in enumerate(rows, 1):
        writer.writerow(
            [
                "" if row.get(name) is None else safe_cell(column.write(row[name]))
                for name, column in columns.items()
            ]
        )
        if number % 500 == 0:
            yield _taken(buffer)
    yield _taken(buffer)


def _taken(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode()
