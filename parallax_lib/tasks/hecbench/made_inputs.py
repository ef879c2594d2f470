"""Input files that a checkout only names (their data lie on servers of their own), made here from a short recipe of the manifest.

Knows text tables, bytes, packed numbers, two kinds of images, and files that are several of these one after the other.
Knows nothing of kernels or programs.  The same recipe always gives the same bytes.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping

KINDS = ("table", "bytes", "packed", "ppm", "bmp", "parts")
COUNT = "#"


def made(recipe: Mapping) -> bytes:
    """The file that a recipe describes.

    `table: [rows, low, high, ...]` has a pair of limits for each column, whole numbers between whole limits.  A column `"#", 4` counts in
    steps of 4 from 0, a column `ACGT, 9` has words of 9 of these letters.  `first: text` is its first line, `between: ","` stands in place
    of a blank.  `bytes: n` are random ones.  `packed: ["<f", n, low, high]` are n numbers in that format of `struct`.  `ppm` and `bmp:
    [width, height]` are images of 24 bits: smooth shades with some noise.  `parts: [recipe, ...]` is the files of these in one.
    """
    return _made(recipe, random.Random(20261130))


def _made(recipe: Mapping, draw: random.Random) -> bytes:
    kinds = [kind for kind in KINDS if kind in recipe]
    if len(kinds) != 1:
        raise ValueError(f"a made input has one of {', '.join(KINDS)}, not {dict(recipe)}")
    if kinds == ["parts"]:
        return b"".join(_made(part, draw) for part in recipe["parts"])
    if kinds == ["table"]:
        return _table(recipe, draw).encode()
    if kinds == ["bytes"]:
        return draw.randbytes(recipe["bytes"])
    if kinds == ["packed"]:
        code, count, low, high = recipe["packed"]
        one = draw.randint if isinstance(low, int) and isinstance(high, int) else draw.uniform
        return b"".join(struct.pack(code, one(low, high)) for _ in range(count))
    width, height = recipe[kinds[0]]
    return (_ppm if kinds == ["ppm"] else _bmp)(width, height, draw)


def _table(recipe: Mapping, draw: random.Random) -> str:
    rows, *limits = recipe["table"]
    columns = list(zip(limits[::2], limits[1::2], strict=True))
    lines = [str(recipe["first"])] if "first" in recipe else []
    lines += [recipe.get("between", " ").join(_cell(row, low, high, draw) for low, high in columns) for row in range(rows)]
    return "\n".join(lines) + "\n"


def _cell(row: int, low: float | str, high: float, draw: random.Random) -> str:
    if isinstance(low, str):
        return str(row * high) if low == COUNT else "".join(draw.choices(low, k=int(high)))
    whole = isinstance(low, int) and isinstance(high, int)
    return str(draw.randint(low, high)) if whole else f"{draw.uniform(low, high):.4f}"


def _pixels(width: int, height: int, draw: random.Random) -> list[bytes]:
    """Rows of three bytes a pixel."""
    return [bytes((x * (c + 2) + y * (3 - c) + draw.randrange(24)) % 256 for x in range(width) for c in range(3)) for y in range(height)]


def _ppm(width: int, height: int, draw: random.Random) -> bytes:
    return f"P6\n{width} {height}\n255\n".encode() + b"".join(_pixels(width, height, draw))


def _bmp(width: int, height: int, draw: random.Random) -> bytes:
    """A Windows bitmap; `width` is a multiple of four, so that no row is padded."""
    size = 3 * width * height
    head = struct.pack("<2sIHHI", b"BM", 54 + size, 0, 0, 54)
    return head + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, size, 2835, 2835, 0, 0) + b"".join(_pixels(width, height, draw))
