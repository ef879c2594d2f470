"""Input files that a checkout only names (their data lie on servers of their own), made here from a short recipe of the manifest.

Knows text tables, bytes and two kinds of images.  Knows nothing of kernels or programs.  The same recipe always gives the same bytes.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping

KINDS = ("table", "bytes", "ppm", "bmp")


def made(recipe: Mapping) -> bytes:
    """The file that a recipe describes.

    `table: [rows, low, high, ...]` has a pair of limits for each column, whole numbers between whole limits.  `first: text` is its first
    line, `between: ","` stands in place of a blank.  `bytes: n` are random ones.  `ppm: [width, height]` and `bmp: [width, height]` are
    images of 24 bits: smooth shades with some noise.
    """
    kinds = [kind for kind in KINDS if kind in recipe]
    if len(kinds) != 1:
        raise ValueError(f"a made input has one of {', '.join(KINDS)}, not {dict(recipe)}")
    draw = random.Random(20261130)
    if kinds == ["table"]:
        return _table(recipe, draw).encode()
    if kinds == ["bytes"]:
        return draw.randbytes(recipe["bytes"])
    width, height = recipe[kinds[0]]
    return (_ppm if kinds == ["ppm"] else _bmp)(width, height, draw)


def _table(recipe: Mapping, draw: random.Random) -> str:
    rows, *limits = recipe["table"]
    columns = list(zip(limits[::2], limits[1::2], strict=True))
    lines = [str(recipe["first"])] if "first" in recipe else []
    lines += [recipe.get("between", " ").join(_number(low, high, draw) for low, high in columns) for _ in range(rows)]
    return "\n".join(lines) + "\n"


def _number(low: float, high: float, draw: random.Random) -> str:
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
