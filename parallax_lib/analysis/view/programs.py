"""The table of programs: which rows pass a filter, in which order, and one page of them.

Knows columns by kind and the text indexes.  Knows nothing of HTML or requests.  n rows of the table, m that pass.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping

import numpy as np
import pandas as pd

from parallax_lib.analysis.view.dataset import Dataset
from parallax_lib.analysis.view.query import Term, number, parse
from parallax_lib.analysis.view.text_index import TextIndex
from parallax_lib.core.errors import UserError, nearest

TEXTS = ("source_code", "code", "log")  # shown on a program's own page
SEARCHED = (*TEXTS, "task", "plan", "parallel_evidence", "race_evidence")
SHOWN = ("task", "arm", "seed", "branch_depth", "resample", "reason", "level", "parallel", "score", "plan", "decode_tokens", "tokens")
FACETS = ("reason", "arm", "direction", "split", "family")
FEW = 60  # distinct values of a column that is offered as a choice
KEPT = 64  # filters whose rows are remembered


class Programs:
    """One table of a dataset, ready to be filtered, sorted and paged."""

    def __init__(self, dataset: Dataset, name: str):
        self.dataset, self.name = dataset, name
        self.frame = dataset.table(name)
        self.columns = [column for column in self.frame if column not in TEXTS]
        self.lock, self.indexes, self.orders = threading.RLock(), {}, {}
        self.found: OrderedDict[str, np.ndarray] = OrderedDict()

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def known(self) -> set[str]:
        return {*self.columns, *TEXTS}

    def kinds(self) -> list[dict]:
        """Every column that a table can show: name, whether it is a number, whether it is shown at first, its few values."""
        first = [column for column in SHOWN if column in self.frame]
        return [{"name": c, "number": self.is_number(c), "shown": c in first, "values": self.values(c)} for c in self.ordered(first)]

    def ordered(self, first: list[str]) -> list[str]:
        return first + [column for column in self.columns if column not in first]

    def is_number(self, column: str) -> bool:
        return pd.api.types.is_numeric_dtype(self.frame[column]) and not pd.api.types.is_bool_dtype(self.frame[column])

    def values(self, column: str) -> list[str]:
        if column not in FACETS:
            return []
        found = self.codes(column)[1]
        return [] if len(found) > FEW else sorted(map(str, found))

    def codes(self, column: str) -> tuple[np.ndarray, list]:
        """([n] number of each row's value, the values)."""
        with self.lock:
            if ("codes", column) not in self.orders:
                codes, values = pd.factorize(self.frame[column])
                self.orders["codes", column] = codes, list(values)
            return self.orders["codes", column]

    def index(self, column: str) -> tuple[TextIndex, np.ndarray | None]:
        """The column's texts, and where each row's text stands among them (None: each row has its own)."""
        with self.lock:
            if column not in self.indexes:
                if column == "source_code" and column not in self.frame:
                    codes, tasks = self.codes("task")
                    self.indexes[column] = TextIndex(pd.Series([self.dataset.sources.get(t, "") for t in tasks], dtype="str")), codes
                elif column in ("source_code", "task", "plan"):
                    codes, values = self.codes(column)
                    self.indexes[column] = TextIndex(pd.Series([*values, ""], dtype="str")), codes
                else:
                    self.indexes[column] = TextIndex(self.frame[column]), None
            return self.indexes[column]

    def warm(self) -> None:
        """Make the indexes of every searched text."""
        for column in self.searched():
            self.index(column)

    def searched(self) -> list[str]:
        return [c for c in SEARCHED if c in self.frame or (c == "source_code" and "task" in self.frame)]

    def with_text(self, column: str, word: str, among: np.ndarray) -> np.ndarray:
        index, of = self.index(column)
        return index.rows_with(word, among) if of is None else index.rows_with(word)[of]

    def rows(self, text: str) -> np.ndarray:
        """Row numbers [m] that pass the filter, in the table's order."""
        with self.lock:
            if text not in self.found:
                keep = np.ones(len(self), bool)
                for term in sorted(parse(text, self.known), key=self.effort):
                    keep &= self.keeps(term, keep) ^ term.negative if keep.any() else keep
                self.found[text] = np.flatnonzero(keep)
                while len(self.found) > KEPT:
                    self.found.popitem(last=False)
            return self.found[text]

    def effort(self, term: Term) -> tuple[bool, bool, int]:
        """What is tried first: columns, then texts that are to be there, long words before short ones."""
        return not term.column or term.column in TEXTS, term.negative, -len(term.value)

    def keeps(self, term: Term, among: np.ndarray) -> np.ndarray:
        """[n] rows that the term, read without its minus, keeps; right for the rows `among` [n] that matter."""
        if not term.column:
            found = np.zeros(len(self), bool)
            for column in self.searched():
                found |= self.with_text(column, term.value, among & ~found)
            return found
        if term.column in TEXTS and term.op == ":":
            return self.with_text(term.column, term.value, among)
        if term.column not in self.frame:
            raise UserError(f"filter: {term.column!r} takes a text only, such as {term.column}:for")
        values = self.frame[term.column]
        if self.is_number(term.column) and term.op != ":":
            return _compared(values.to_numpy(float, na_value=np.nan), term.op, number(term))
        if term.op not in (":", "="):
            raise UserError(f"filter: {term.column} holds words, which {term.op} does not compare; use {term.column}:{term.value}")
        codes, names = self.codes(term.column)
        sought = term.value.lower()
        names = [str(name).lower() for name in names]
        fits = np.array([(name == sought) if term.op == "=" else (sought in name) for name in names] + [False])
        return fits[codes]  # code -1, a missing value, is the last

    def order(self, column: str) -> np.ndarray:
        """[n] place of each row when sorted by the column, missing values last."""
        with self.lock:
            if column not in self.orders:
                self.orders[column] = self.frame[column].rank(method="dense", na_option="bottom").to_numpy()
            return self.orders[column]

    def sorted(self, text: str, sort: str) -> np.ndarray:
        """Row numbers [m] that pass, sorted: `column` up, `-column` down, missing values last in both; "" in the table's order."""
        rows, column = self.rows(text), sort.lstrip("-")
        if not column:
            return rows
        if column not in self.columns:
            raise UserError(f"sort: no column {column!r}{nearest(column, self.columns)}")
        key = self.order(column)[rows]
        if sort.startswith("-"):
            missing = self.frame[column].isna().to_numpy()[rows]
            key = np.where(missing, np.inf, -key)
        return rows[np.argsort(key, kind="stable")]

    def facets(self, rows: np.ndarray) -> dict[str, list]:
        """{column: [[value, rows that pass], ...]} of the columns with few values, most first."""
        counted = {}
        for column in FACETS:
            if column in self.frame and len(self.codes(column)[1]) <= FEW:
                codes, names = self.codes(column)
                counts = np.bincount(codes[rows] + 1, minlength=len(names) + 1)[1:]
                counted[column] = [[str(names[i]), int(counts[i])] for i in np.argsort(-counts, kind="stable") if counts[i]]
        return counted

    def page(self, text: str = "", sort: str = "", page: int = 0, size: int = 50) -> dict:
        """One page: rows as {column: value}, with the number that is each row's address."""
        rows = self.sorted(text, sort)
        size = max(1, min(size, 1000))
        page = max(0, min(page, (len(rows) - 1) // size))
        part = rows[page * size : (page + 1) * size]
        records = self.frame.iloc[part][self.columns].to_dict("records")
        shown = [plain_row(row) | {"row": int(n)} for n, row in zip(part, records, strict=True)]
        terms = [term.words() for term in parse(text, self.known)]
        place = {"total": len(self), "found": len(rows), "page": page, "size": size}
        return place | {"rows": shown, "facets": self.facets(rows), "terms": terms}

    def neighbours(self, row: int, text: str, sort: str) -> dict:
        """Where a row stands among those that pass, and the rows before and after it."""
        rows = self.sorted(text, sort)
        at = np.flatnonzero(rows == row)
        if not len(at):
            return {"at": None, "found": len(rows), "previous": None, "next": int(rows[0]) if len(rows) else None}
        i = int(at[0])
        before, after = (int(rows[j]) if 0 <= j < len(rows) else None for j in (i - 1, i + 1))
        return {"at": i, "found": len(rows), "previous": before, "next": after}

    def record(self, row: int) -> dict:
        """One row with its texts; UserError for a number that is not there."""
        if not 0 <= row < len(self):
            raise UserError(f"{self.name}: no row {row}; it has 0 to {len(self) - 1}")
        found = self.frame.iloc[row].to_dict()
        if not isinstance(found.get("source_code"), str):
            found["source_code"] = self.dataset.sources.get(found.get("task"), "")
        return found


def _compared(values: np.ndarray, op: str, bound: float) -> np.ndarray:
    compare = {"=": np.equal, ">": np.greater, "<": np.less, ">=": np.greater_equal, "<=": np.less_equal}
    return compare[op](values, bound)


def plain(value: object) -> object:
    """A cell as JSON holds it: None for what is missing, Python's own numbers, text for the rest."""
    if value is None or value is pd.NA or (isinstance(value, float) and not np.isfinite(value)):
        return None if value is None or value is pd.NA or np.isnan(value) else str(value)
    if isinstance(value, np.generic):
        return plain(value.item())
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def plain_row(row: Mapping) -> dict:
    return {str(name): plain(value) for name, value in row.items()}
