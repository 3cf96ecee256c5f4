"""The archive of an export: for each sheet a file of JSON and a table, in one ZIP.

It is written to an unnamed file beside, since nobody knows how long it gets; no thread of the event loop
waits for the disk.
"""

import asyncio
import csv
import io
import tempfile
import zipfile
from collections.abc import AsyncIterator
from typing import IO, Any

import orjson

from ohmstead.accounts.personal_data import Sheet
from ohmstead.core.spreadsheets import safe_cell

CHUNK = 500
"""Rows that are written at once."""
BLOCK = 1 << 20


class Archive:
    """A ZIP that grows sheet by sheet. Close it when it has been read."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 # closed by `close`
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED)

    async def add(self, sheet: Sheet) -> int:
        """Write a sheet to its end; returns how many rows it had."""
        with tempfile.TemporaryFile() as as_json, tempfile.TemporaryFile() as as_csv:
            count, rows = 0, list[dict[str, Any]]()
            async for row in sheet.rows:
                rows.append(row)
                if len(rows) == CHUNK:
                    await asyncio.to_thread(_write, as_json, as_csv, rows, count)
                    count, rows = count + len(rows), []
            await asyncio.to_thread(_write, as_json, as_csv, rows, count)
            as_json.write(b"\n]\n" if count + len(rows) else b"[]\n")
            await asyncio.to_thread(self._take, f"{sheet.name}.json", as_json)
            await asyncio.to_thread(self._take, f"{sheet.name}.csv", as_csv)
            return count + len(rows)

    def _take(self, name: str, source: IO[bytes]) -> None:
        source.seek(0)
        with self._zip.open(name, "w", force_zip64=True) as target:
            while block := source.read(BLOCK):
                target.write(block)

    async def read(self) -> AsyncIterator[bytes]:
        """End the archive and give its bytes."""
        await asyncio.to_thread(self._zip.close)
        self._file.seek(0)
        while block := await asyncio.to_thread(self._file.read, BLOCK):
            yield block

    def close(self) -> None:
        """Let the file go."""
        self._file.close()


def _write(as_json: IO[bytes], as_csv: IO[bytes], rows: list[dict[str, Any]], before: int) -> None:
    for number, row in enumerate(rows, before):
        as_json.write(b",\n" if number else b"[\n")
        as_json.write(orjson.dumps(row, default=str))
    if not rows:
        return
    text = io.StringIO()
    table = csv.writer(text)
    if not before:
        table.writerow(list(rows[0]))
    for row in rows:
        table.writerow([_cell(value) for value in row.values()])
    as_csv.write(text.getvalue().encode())


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        return orjson.dumps(value, default=str).decode() if value else ""
    return "" if value is None else safe_cell(str(value))
