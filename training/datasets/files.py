"""Tables and lists of a data set's folder, read row by row; what cannot be read is a problem with file and row, not an end.

A row whose bytes are not text in the folder's encoding is left out, and so is one with too few or too many fields: half a row is no row.
"""

from __future__ import annotations

import csv
import io
import json
import math
import pickle
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..records import Media, Provenance, Source
from .problems import SetProblems

MISSING = frozenset(("", "nan", "none", "null", "n/a"))


@dataclass(frozen=True)
class Row:
    """One row: its place and its fields. A missing field and pandas' "nan" are "" alike."""

    file: str
    number: int
    fields: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        value = self.fields.get(column, "").strip()
        return "" if value.casefold() in MISSING else value

    def first(self, *columns: str) -> str:
        return next((self[column] for column in columns if self[column]), "")

    def number_of(self, column: str) -> float | None:
        """A field as a finite number; None where it is none."""
        try:
            value = float(self[column])
        except ValueError:
            return None
        return value if math.isfinite(value) else None


@dataclass
class Folder:
    """A data set's folder while it is being read.

    fold  which of the published folds (DFEW, MAFW: 1 to 5)
    look  whether files may be looked for; without it the first place of several is taken
    """

    root: Path
    problems: SetProblems = field(default_factory=SetProblems)
    encoding: str = "utf-8"
    fold: int = 1
    look: bool = True
    source: Source = "original"

    def __post_init__(self) -> None:
        fabricated = (self.root / "FABRICATED").is_file() or (self.root.parent / "FABRICATED").is_file()
        self._fabricated = fabricated

    def provenance(self, file: str, row: int = 0) -> Provenance:
        return Provenance("fabricated" if self._fabricated else self.source, file, row)

    def find(self, *names: str) -> str:
        """The first of these files or folders that exists, under the root; "" and a problem where none does."""
        for name in names:
            if (self.root / name).exists():
                return name
        self.problems.add(
            "missing file", names[0], detail=f"not in {self.root}" + (f"; looked for {', '.join(names[1:])} too" if names[1:] else "")
        )
        return ""

    def choose(self, *names: str) -> str:
        """The first of these that exists, or the first: where a clip's file should be."""
        if self.look:
            for name in names:
                if (self.root / name).exists():
                    return name
        return names[0]

    def media(self, **parts: Any) -> Media:
        return Media(root=str(self.root), **parts)

    def text_lines(self, file: str) -> Iterator[tuple[int, str]]:
        """Numbered lines without their ends; lines that are not text are problems."""
        with (self.root / file).open("rb") as stream:
            for number, line in enumerate(stream, 1):
                try:
                    yield number, line.decode(self._codec(number)).rstrip("\r\n")
                except UnicodeDecodeError:
                    self._not_text(file, number)

    def table(self, file: str, required: Iterable[str], header: Iterable[str] = (), delimiter: str = ",") -> Iterator[Row]:
        """Rows of a CSV file. `header` names the columns of a file that has none."""
        csv.field_size_limit(1 << 24)  # reasons of a language model are longer than csv's 128 KiB in sum
        content = (self.root / file).read_bytes().decode("utf-8-sig" if self._is_utf8 else self.encoding, errors="surrogateescape")
        reader = csv.reader(io.StringIO(content.replace("\0", "\udc00"), newline=""), delimiter=delimiter)
        names = [name.strip() for name in (header or next(reader, []))]
        lacking = [name for name in required if name not in names]
        if lacking:
            self.problems.add("wrong columns", file, 1, detail=f"needs {', '.join(lacking)}; it has {', '.join(names) or 'no header'}")
            return
        number = 0 if header else 1
        while True:
            number += 1
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                self.problems.add("broken row", file, number, detail=str(error))
                return
            if not any(value.strip() for value in values):
                continue
            if len(values) != len(names):
                self.problems.add("broken row", file, number, detail=f"{len(values)} fields, the header has {len(names)}")
            elif any("\udc00" <= c <= "\udcff" for value in values for c in value):
                self._not_text(file, number)
            else:
                yield Row(file, number, dict(zip(names, values, strict=True)))

    def sheet(self, file: str, required: Iterable[str]) -> Iterator[Row]:
        """Rows of an Excel file's first sheet. Column names are compared without case and surrounding spaces."""
        try:
            from openpyxl import load_workbook
        except ImportError:
            raise RuntimeError(f"{file} is an Excel file; to read it: pip install openpyxl") from None
        book = load_workbook(self.root / file, read_only=True, data_only=True)
        try:
            rows = book.worksheets[0].iter_rows(values_only=True)
            names = [str(name or "").strip().casefold() for name in next(rows, ())]
            lacking = [name for name in required if name.casefold() not in names]
            if lacking:
                self.problems.add("wrong columns", file, 1, detail=f"needs {', '.join(lacking)}; it has {', '.join(names)}")
                return
            for number, values in enumerate(rows, 2):
                if any(value not in (None, "") for value in values):
                    yield Row(file, number, {name: _cell(value) for name, value in zip(names, values, strict=False)})
        finally:
            book.close()

    def json(self, file: str) -> Any:
        """The content of a JSON file; None and a problem where it is none."""
        try:
            return json.loads((self.root / file).read_text(encoding="utf-8-sig"))
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            self.problems.add("not text" if isinstance(error, UnicodeDecodeError) else "broken row", file, detail=str(error))
            return None

    def plain_pickle(self, file: str) -> Any:
        """The content of a pickle that holds lists, dicts, texts and numbers; anything else in it is refused, not run."""
        try:
            with (self.root / file).open("rb") as stream:
                return _PlainUnpickler(stream, encoding="utf-8").load()
        except (pickle.UnpicklingError, EOFError, UnicodeDecodeError, AttributeError, IndexError) as error:
            self.problems.add("broken row", file, detail=f"not a plain pickle: {error}")
            return None

    @property
    def _is_utf8(self) -> bool:
        return self.encoding.replace("-", "").casefold() == "utf8"

    def _codec(self, number: int) -> str:
        return "utf-8-sig" if number == 1 and self._is_utf8 else self.encoding

    def _not_text(self, file: str, number: int) -> None:
        self.problems.add("not text", file, number, detail=f"not {self.encoding}; save it as UTF-8, or say what it is: --encoding gb18030")


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is code")


def open_labels(text: str) -> tuple[str, ...]:
    """ "[worried, nervous]" → its words."""
    plain = text.strip().removeprefix("[").removesuffix("]")
    return tuple(word.strip() for word in re.split(r"[,;'\"]", plain) if word.strip())


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
