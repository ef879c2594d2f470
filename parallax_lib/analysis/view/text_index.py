"""Which rows hold a word: a column of texts as one long lower-case string, searched from hit to hit.

Knows strings and row numbers.  Knows no column's meaning.  n rows.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

FEW = 0.3  # share of the rows


class TextIndex:
    """Texts [n]; `rows_with(word)` is a mask [n], without regard to case.  170 MB are searched in 0.1 s."""

    def __init__(self, texts: pd.Series):
        array = pa.array(texts.astype("string[pyarrow]").fillna(""), pa.string())
        array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        lowered = pc.utf8_lower(array.cast(pa.large_string()))
        _, offsets, data = lowered.buffers()
        self.ends = np.frombuffer(offsets, np.int64)[lowered.offset : lowered.offset + len(lowered) + 1].tolist()
        self.data = bytes(data) if data else b""

    def rows_with(self, word: str, among: np.ndarray | None = None) -> np.ndarray:
        """[n] bool.  A hit that spans two texts is no hit.  among: [n] bool, the rows that matter; where few do, only they are read."""
        sought, ends = word.lower().encode(), self.ends
        if among is not None and among.sum() < FEW * len(among):
            return self._of(np.flatnonzero(among), sought)
        found = np.zeros(len(ends) - 1, bool)
        if not sought:
            return ~found
        at, row = self.data.find(sought), 0
        while at >= 0:
            row = bisect_right(ends, at, row) - 1
            if at + len(sought) <= ends[row + 1]:
                found[row] = True
                at = self.data.find(sought, ends[row + 1])
            else:
                at = self.data.find(sought, at + 1)
        return found

    def _of(self, rows: np.ndarray, sought: bytes) -> np.ndarray:
        """[n] bool, read row by row."""
        found = np.zeros(len(self.ends) - 1, bool)
        found[rows] = [self.data.find(sought, self.ends[row], self.ends[row + 1]) >= 0 for row in rows.tolist()]
        return found
