"""A CSV file as it is: any usual delimiter, UTF-8, UTF-16 or Windows-1252, by columns.

table = read_csv(path)
table["image"]          # the column's cells, stripped
table.where(0)          # "labels.csv, row 2"
"""

import codecs
import csv
import io
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainables.errors import UserError
from trainables.images.files import regular

EXCEL = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # first bytes of .xlsx and .xls
ENDINGS = frozenset({".csv", ".tsv", ".tab", ".txt"})
DELIMITERS = {"\t": "tab", ";": "semicolon", ",": "comma", "|": "bar"}  # likelier ones first
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip


@dataclass(frozen=True)
class Csv:
    """The rows of one file, in columns of equal length."""

    path: Path
    header: tuple[str, ...]
    columns: Sequence[list[str]]
    lines: Sequence[int]  # where each row begins in the file, from 1
    encoding: str
    delimiter: str
    paths: Sequence[Path] = ()  # of each row, where several files were joined

    def __getitem__(self, column: str) -> list[str]:
        """Return the cells of a column; UserError if others of this name differ."""
        same = [
            cells for name, cells in zip(self.header, self.columns, strict=True) if name == column
        ]
        if any(cells != same[0] for cells in same[1:]):
            raise UserError(
                f"{self.path}: must have one column {column}, and has {len(same)} that differ; try "
                "renaming them"
            )
        return same[0]

    def __contains__(self, column: str) -> bool:
        return column in self.header

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, row: int) -> str:
        return f"{self.paths[row] if self.paths else self.path}, row {self.lines[row]}"

    @property
    def named(self) -> tuple[str, ...]:
        """The columns that have a name."""
        return tuple(filter(None, self.header))


def read_csv(path: Path) -> Csv:
    """Read a file with a header; UserError if it is no table."""
    if path.exists():
        regular(path)
    try:
        text, encoding = _decoded(_bytes(path))
        delimiter, text, above = _delimiter(text)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        header = [cell.strip() for cell in next(reader, [])]
        columns, lines = [list[str]() for _ in header], list[int]()
        for row in reader:
            if any(map(str.strip, row)):
                lines.append(above + reader.line_num)
                _append(columns, _fitted(row, header, path, lines[-1]))
    except OSError as error:
        raise UserError(f"{path}: must be readable ({error.strerror}); try another path") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{path}: must be a CSV file in UTF-8 or UTF-16 ({error}); try saving it as one"
        ) from None
    if not any(header):
        raise UserError(f"{path}: must have a header and a row an image, and is empty; try another")
    return Csv(path, tuple(header), columns, lines, encoding, DELIMITERS[delimiter])


def read_names(path: Path) -> list[str]:
    """Read a plain list: one name a line, no header."""
    return [line.strip() for line in _decoded(path.read_bytes())[0].splitlines() if line.strip()]


def _bytes(path: Path) -> bytes:
    """Return the file's bytes; UserError for a workbook."""
    data = path.read_bytes()
    if data.startswith(EXCEL):
        raise UserError(
            f"{path}: must be a CSV file, and is a workbook of Excel; try saving it as CSV UTF-8"
        )
    return data


def _decoded(data: bytes) -> tuple[str, str]:
    """Return text and encoding; UTF-16 without its mark is known by its zeros.

    What is not UTF-8 is Windows-1252, in which Excel writes CSV files.
    """
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in (start := data[:200]):
        even, odd = start[::2].count(0), start[1::2].count(0)
        if max(even, odd) > len(start) // 4:
            encoding = "utf-16-le" if odd > even else "utf-16-be"
    try:
        return data.decode(encoding), "UTF-16" if "16" in encoding else "UTF-8"
    except UnicodeDecodeError:
        if encoding != "utf-8":
            raise
        return data.decode("cp1252"), "Windows-1252 (guessed)"


def _delimiter(text: str, above: int = 0) -> tuple[str, str, int]:
    """Return the delimiter of the header, the text from there, and the number of lines above.

    Above it are the line `sep=;` of Excel and comments.
    """
    first, _, rest = text.partition("\n")
    if (said := re.fullmatch(r"sep=(.)\s*", first)) and said[1] in DELIMITERS:
        return said[1], rest, above + 1
    if first.startswith("#") and rest and not any(map(first.count, DELIMITERS)):
        return _delimiter(rest, above + 1)
    bare = re.sub(r'"[^"]*"', "", first)
    likeliest = max(DELIMITERS, key=bare.count) if any(map(bare.count, DELIMITERS)) else ","
    return likeliest, text, above


def _fitted(row: list[str], header: list[str], path: Path, line: int) -> list[str]:
    """Return a row of the header's length: only what has neither name nor value may differ."""
    while len(row) > len(header) and not row[-1].strip():
        row.pop()
    while len(row) < len(header) and not header[len(row)]:
        row.append("")
    if len(row) != len(header):
        raise UserError(
            f"{path}, row {line}: must have {len(header)} cells as the header has, not "
            f"{len(row)}; try mending {'the row' if len(header) > 1 else 'the header'}"
        )
    return row


def _append(columns: list[list[str]], row: list[str]) -> None:
    for column, cell in zip(columns, row, strict=True):
        column.append(sys.intern(cell.strip()))  # most cells repeat
