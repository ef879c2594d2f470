"""Notebooks as stored: pictures in few colours, the study's results in one that no run executes."""

import json
import struct
import zlib

import frames
import numpy as np
import pandas as pd
import pytest
import refresh_notebooks

from parallax_lib import card, facets, pipeline
from parallax_lib.params import ROOT
from parallax_lib.store import read_table

STUDY = ROOT / "data" / "study"


def png(pixels: np.ndarray, filters: int = 2) -> bytes:
    """RGBA pixels as Chrome writes them: each line as its difference from the one above."""
    height, width, _ = pixels.shape
    lines = np.diff(pixels.reshape(height, -1).astype(np.uint8), axis=0, prepend=np.zeros((1, 4 * width), np.uint8))
    data = np.concatenate([np.full((height, 1), filters, np.uint8), lines], axis=1).tobytes()
    packed = zlib.compress(data)
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)),
        (b"IDAT", packed[:20]),
        (b"IDAT", packed[20:]),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(refresh_notebooks.chunk(*part) for part in parts)


def shown(picture: bytes) -> np.ndarray:
    """RGB pixels of a picture with a palette, read chunk by chunk."""
    chunks, at = {}, 8
    while at < len(picture):
        length, kind = struct.unpack(">I4s", picture[at : at + 8])
        chunks[kind] = picture[at + 8 : at + 8 + length]
        (check,) = struct.unpack(">I", picture[at + 8 + length : at + 12 + length])
        assert check == zlib.crc32(kind + chunks[kind])
        at += 12 + length
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not lines[:, 0].any()
    return np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3)[lines[:, 1:]]


def test_a_picture_of_few_colours_is_the_same_in_fewer_bytes():
    rng = np.random.default_rng(0)
    pixels = np.full((60, 90, 4), 255, np.uint8)
    pixels[..., :3] = rng.integers(0, 256, (200, 3))[rng.integers(0, 200, (60, 90))]
    made = refresh_notebooks.small(png(pixels))
    np.testing.assert_array_equal(shown(made), pixels[..., :3])
    assert len(made) < len(png(pixels))


def test_of_many_colours_the_frequent_ones_stay_and_the_rest_is_near():
    pixels = np.full((64, 64, 4), 255, np.uint8)
    pixels[:32, :32, :3] = (0, 114, 178)
    pixels[32:, :, :3] = np.stack([np.arange(2048) // 32, np.arange(2048) % 32, np.zeros(2048)], axis=1).reshape(32, 64, 3)
    got = shown(refresh_notebooks.small(png(pixels))).astype(int)
    np.testing.assert_array_equal(got[:32], pixels[:32, :, :3])
    away = np.abs(got - pixels[..., :3]).max()
    assert len(np.unique(got.reshape(-1, 3), axis=0)) == 256 and 0 < away < 64


def test_a_picture_that_is_written_otherwise_stays_as_it_is():
    other = png(np.zeros((3, 4, 4), np.uint8), filters=1)
    assert refresh_notebooks.small(other) == other


def test_no_run_executes_the_notebook_of_the_study():
    assert not [stage for stage in pipeline.stages("01-99") if stage.notebook.name.startswith("08")]


def test_the_stored_outputs_are_those_of_the_shipped_tables():
    path = ROOT / "notebooks" / "08_study_results.ipynb"
    outputs = [out for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] for out in cell.get("outputs", [])]
    told = "".join("".join(out.get("text", "")) for out in outputs)
    results, _ = facets.without_equal_cost(read_table(STUDY, "results"))
    assert card.headline(card.differences(results), card.gap_closed(results)) in told
    assert sum("image/png" in out.get("data", {}) for out in outputs) >= 9 and path.stat().st_size < 400_000


def test_families_of_both_suites_are_those_of_all_rows():
    results = frames.results().replace({"kernel": {"saxpy": "n_map_7"}})
    made = facets.families(facets.with_suite(results))
    pd.testing.assert_frame_equal(made.drop(columns="suite"), card.by_family(results))
    assert made.set_index("family")["suite"].to_dict() == {"histogram": "hand-written", "map": "generated", "reduction": "hand-written"}


@pytest.mark.parametrize(
    "low, diff, said", [(0.01, 0.1, "gains on"), (-0.1, 0.0, "gains nothing on"), (-0.1, 0.1, "shows no sure gain on")]
)
def test_a_gain_is_said_only_where_the_interval_lies_above_zero(low, diff, said):
    sentence = facets.verdict(pd.DataFrame({"suite": ["generated"], "low": [low], "diff": [diff]}))
    assert sentence == f"Guidance {said} generated kernels."
