"""How fast rollouts and results are written and read: journal, tables, vectors, against plain files on the same disk.

Knows `core.storage`.  Knows no model.

n rows, K latents of a row, D width.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from parallax_lib.core import storage
from parallax_lib.study.bench.report import Report, ms

BLOCK = 1000  # rows of one transaction of the journal
FILE = 2**28  # bytes of the plain file
FEW = 100  # rows that are written as files of their own


@dataclass(frozen=True)
class Store:
    """What is measured."""

    rows: int = 100_000
    latents: int = 6
    width: int = 896
    code: int = 2_000  # characters of a program


SMALL = {"rows": 10_000, "width": 128}


def measure(asked: Store, report: Report, folder: Path) -> dict[str, Any]:
    """Everything, in a folder inside of `folder` that is gone afterwards."""
    storage.writable_folder(folder)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        inside = Path(name)
        disk = plain(inside / "plain", report)
        journal(inside / "journal.db", asked, disk, report)
        table(inside, asked, disk, report)
        vectors(inside, asked, disk, report)
    return asdict(asked)


def plain(path: Path, report: Report) -> tuple[float, float]:
    """(written, read) bytes a second of one file; written to the disk, read from the system's cache."""
    data = os.urandom(2**20) * (FILE // 2**20)
    write, read = (1e3 * FILE / ms(work, 1) for work in (lambda: storage.write_atomic(path, data), path.read_bytes))
    path.unlink()
    report.add("ceiling: a plain file written", write / 1e6, "MB/s")
    report.add("ceiling: a plain file read", read / 1e6, "MB/s")
    return write, read


def rollouts(asked: Store) -> pd.DataFrame:
    """Rows as stage 01 writes them; programs are cut from one random text, so that they do not compress to nothing."""
    rng = np.random.default_rng(0)
    text = "".join(chr(c) for c in rng.integers(32, 127, 50 * asked.code))
    at = rng.integers(0, len(text) - asked.code, asked.rows)
    return pd.DataFrame({
        "capture_id": [f"capture-{i:08d}" for i in range(asked.rows)], "task": [f"task-{i // 9:06d}" for i in range(asked.rows)],
        "direction": "serial-omp", "reward": rng.random(asked.rows), "level": rng.integers(0, 6, asked.rows),
        "mean_logprob": rng.random(asked.rows), "code": [text[i : i + asked.code] for i in at],
    })  # fmt: skip


def journal(path: Path, asked: Store, disk: tuple[float, float], report: Report) -> None:
    """Verdicts into the journal and back, a transaction for every BLOCK rows."""
    rows = [(f"key-{i:08d}", {"level": i % 6, "reason": "ok", "log": "x" * 200, "cpu_s": i / 7}) for i in range(asked.rows)]
    kept = storage.Journal(path)

    def write() -> None:
        for at in range(0, len(rows), BLOCK):
            kept.put_many("verdict", rows[at : at + BLOCK])

    taken = ms(write, 1, warm=0) / 1e3
    size = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
    report.add(f"journal: {asked.rows:,} rows written", taken, "s", size / disk[0])
    report.add("journal: read", ms(lambda: kept.rows("verdict"), 1) / 1e3, "s", size / disk[1])


def table(folder: Path, asked: Store, disk: tuple[float, float], report: Report) -> None:
    frame = rollouts(asked)
    taken = ms(lambda: storage.write_table(folder, "rollouts", frame), 1, warm=0) / 1e3
    size, json_lines = (folder / "rollouts.parquet").stat().st_size, folder / "rollouts.jsonl"
    lines = ms(lambda: frame.to_json(json_lines, orient="records", lines=True), 1, warm=0) / 1e3
    report.add(f"table: {asked.rows:,} rows, {size / 2**20:,.0f} MiB written", taken, "s", size / disk[0], json_lines=lines)
    lines = ms(lambda: pd.read_json(json_lines, lines=True), 1, warm=0) / 1e3
    report.add("table: read", ms(lambda: storage.read_table(folder, "rollouts"), 1) / 1e3, "s", size / disk[1], json_lines=lines)


def vectors(folder: Path, asked: Store, disk: tuple[float, float], report: Report) -> None:
    """Latents as one shard, beside the published layout's file for each row; packed ones as they ship."""
    values = np.random.default_rng(0).standard_normal((asked.rows, asked.latents, asked.width), dtype=np.float32).astype(np.float16)
    shard, few = folder / "latents.safetensors", range(min(FEW, asked.rows))
    each = [torch.from_numpy(values[i].copy()) for i in few]
    share = asked.rows / len(each) / 1e3

    def write_each() -> None:
        for i in few:
            torch.save(each[i], folder / f"{i}.pt")

    taken = ms(lambda: storage.write_vectors(shard, values), 1, warm=0) / 1e3
    alone = ms(write_each, 1, warm=0) * share
    report.add(f"latents: {values.nbytes / 2**20:,.0f} MiB written", taken, "s", values.nbytes / disk[0], a_file_each=alone)
    alone = ms(lambda: [torch.load(folder / f"{i}.pt") for i in few], 1) * share
    report.add("latents: read", ms(lambda: storage.read_vectors(shard), 1) / 1e3, "s", values.nbytes / disk[1], a_file_each=alone)
    some, packed = values[: BLOCK * 5], folder / "packed.safetensors.gz"
    taken = ms(lambda: storage.write_vectors(packed, some, packed=True), 1, warm=0) / 1e3
    report.add(f"latents: {len(some):,} rows packed to {packed.stat().st_size / some.nbytes:.0%}", taken, "s")
    report.add("latents: packed ones read", ms(lambda: storage.read_vectors(packed), 1) / 1e3, "s")
