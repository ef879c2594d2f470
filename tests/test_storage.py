"""The journal under kill -9, damaged files, safe names."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from parallax_lib.core import storage
from parallax_lib.core.config import ROOT
from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import Journal, derive_seed, read_table, read_vectors, slug, write_atomic, write_vectors

WRITER = """
import sys
from parallax_lib.core.storage import Journal
journal = Journal(sys.argv[1])
for i in range(2000):
    journal.put_many("row", [(f"{i}-{j}", {"i": i, "j": j}) for j in range(3)])
    print(i, flush=True)
"""


@pytest.mark.parametrize("seed", range(3))
def test_kill_nine_loses_and_doubles_nothing(tmp_path, seed):
    """Three writers of the same rows, killed at random moments: every acknowledged row is there, whole, once."""
    path = tmp_path / "journal.sqlite"
    Journal(path)
    for _ in range(2):
        writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) for _ in range(3)]
        for w in writers:
            w.stdout.readline()  # it has begun
        time.sleep(random.Random(seed).random())
        for w in writers:
            os.kill(w.pid, signal.SIGKILL)
        acknowledged = max((int(line) for w in writers for line in w.communicate()[0].splitlines() if line.strip().isdigit()), default=0)
        rows = Journal(path).rows("row")
        for i in range(acknowledged + 1):
            assert all(rows[f"{i}-{j}"] == {"i": i, "j": j} for j in range(3))
        assert len(rows) % 3 == 0  # a transaction is whole or absent


def test_the_first_write_of_a_key_wins(tmp_path):
    journal = Journal(tmp_path / "j.sqlite")
    journal.put("k", "a", {"v": 1})
    journal.put("k", "a", {"v": 2})
    assert journal.get("k", "a") == {"v": 1} and journal.get("k", "b") is None and journal.get("other", "a") is None


def test_a_file_that_is_no_journal_is_refused_in_one_line(tmp_path):
    (tmp_path / "j.sqlite").write_bytes(b"not sqlite at all" * 100)
    with pytest.raises(UserError, match="not a journal"):
        Journal(tmp_path / "j.sqlite")


def test_a_journal_damaged_in_its_middle_is_one_line_with_the_remedy(tmp_path):
    path = tmp_path / "j.sqlite"
    journal = Journal(path)
    journal.put_many("k", [(str(i), {"v": "x" * 300}) for i in range(500)])
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    data[8192:-4096] = random.Random(0).randbytes(len(data) - 12288)
    path.write_bytes(data)
    again = Journal(path)
    for call in (
        lambda: again.get("k", "250"),
        lambda: again.rows("k"),
        lambda: again.put("k", "250x", {}),
        lambda: again.forget("k", ["250"]),
    ):
        with pytest.raises(UserError, match=r"j.sqlite: damaged journal .* sqlite3 \S*j.sqlite .recover \| sqlite3 \S*j.saved$"):
            call()


def test_a_value_that_is_no_json_is_a_damaged_journal(tmp_path):
    journal = Journal(tmp_path / "j.sqlite")
    with sqlite3.connect(journal.path) as db:
        db.execute("INSERT INTO entries VALUES ('k', 'a', '{')")
    for call in (lambda: journal.get("k", "a"), lambda: journal.rows("k")):
        with pytest.raises(UserError, match="damaged journal"):
            call()


def test_another_programs_database_is_no_journal(tmp_path):
    with sqlite3.connect(tmp_path / "j.sqlite") as db:
        db.execute("CREATE TABLE entries (name TEXT)")
    with pytest.raises(UserError, match=r"j.sqlite: not a journal \(no such column: kind\); move it away"):
        Journal(tmp_path / "j.sqlite")


def test_a_locked_journal_does_not_ask_for_space(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "WAIT_S", 0.1)
    journal = Journal(tmp_path / "j.sqlite")
    other = sqlite3.connect(journal.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(UserError, match="another process holds the journal .*locked.*; wait for it") as refused:
        journal.put("k", "a", {})
    assert "space" not in str(refused.value)


@pytest.mark.parametrize("path", ["/proc/x", "/etc/passwd", "/etc/passwd/x"])
def test_where_nothing_can_be_written_is_told_in_one_line(path):
    for call in (storage.writable_folder, lambda path: write_atomic(path / "f", b""), lambda path: Journal(path / "j.sqlite")):
        with pytest.raises(UserError, match=f"^{path}.*: cannot write") as refused:
            call(Path(path))
        assert "\n" not in str(refused.value)


def test_damaged_missing_or_foreign_shards_are_refused(tmp_path):
    path = tmp_path / "s.safetensors"
    write_vectors(path, np.random.default_rng(0).normal(size=(4, 3, 8)))
    assert read_vectors(path, 8).shape == (4, 3, 8)
    with pytest.raises(UserError, match=r"vectors are \[4, 3, 8\], expected \[n, K, 16\]"):
        read_vectors(path, 16)
    with pytest.raises(UserError, match="no such vector shard"):
        read_vectors(tmp_path / "t.safetensors")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match="damaged vector shard"):
        read_vectors(path)
    write_vectors(path, np.full((1, 1, 2), np.nan))
    with pytest.raises(UserError, match="NaN or infinity"):
        read_vectors(path)


def test_a_packed_shard_keeps_every_value_to_a_63rd_of_its_dimension_and_packed_again_changes_nothing(tmp_path):
    vectors = (np.random.default_rng(0).normal(size=(500, 3, 8)) * 10.0 ** np.arange(-3, 5)).astype(np.float16)
    vectors[..., 4] = 0
    for name, packed in (("whole", False), ("packed", True)):
        write_vectors(tmp_path / name, vectors, packed)
    again = read_vectors(tmp_path / "packed", 8)
    assert again.dtype == np.float16 and (tmp_path / "packed").stat().st_size < 0.6 * (tmp_path / "whole").stat().st_size
    for d in range(8):
        kept, was = again[..., d].astype(float), vectors[..., d].astype(float)
        np.testing.assert_allclose(kept, was, atol=abs(was).max() / 63, rtol=2**-10)  # float16 rounds once more
    write_vectors(tmp_path / "twice", again, packed=True)
    np.testing.assert_array_equal(read_vectors(tmp_path / "twice"), again)


def test_no_space_is_one_line_and_leaves_the_old_file(tmp_path):
    """A real full file system: a sized tmpfs where we may mount one, else the kernel's always-full device."""
    path = tmp_path / "f"
    write_atomic(path, b"old")
    with pytest.raises(UserError, match="No space left on device"):
        _fill(path)
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["f"]


def _fill(path):
    real = os.fdopen

    def full(handle, mode):
        os.dup2(os.open("/dev/full", os.O_WRONLY), handle)
        return real(handle, mode)

    os.fdopen = full
    try:
        write_atomic(path, b"new" * 100_000)
    finally:
        os.fdopen = real


def test_a_missing_table_says_which_stages_make_it(tmp_path):
    folder = ROOT / "data" / "runs" / "tiny-never-made"
    with pytest.raises(UserError, match=r"stage 01 makes it: python -m parallax_lib run FILE --set run=tiny-never-made$"):
        read_table(folder, "rollouts")
    with pytest.raises(UserError, match=r"stage 07 makes it: python -m parallax_lib run params/7b.yaml --only 07$"):
        read_table(folder.with_name("7b"), "margins")
    (tmp_path / "arms.parquet").touch()
    with pytest.raises(UserError, match="damaged table .*; delete it, then restore the file"):
        read_table(tmp_path, "arms")
    assert not folder.exists()


def test_names_are_safe_and_distinct():
    a, b = slug("../../etc/passwd\x00", 1), slug("../../etc/passwd\x00", 2)
    assert a != b and a.startswith("etc-passwd-") and "/" not in a and len(slug("x" * 500, 0)) == 61


def test_seeds_depend_on_every_part_and_on_nothing_else():
    assert derive_seed(0, "t", 1) == derive_seed(0, "t", 1)
    assert len({derive_seed(0, "t", d, b) for d in range(20) for b in range(20)}) == 400
    assert all(0 <= derive_seed(i) < 2**63 for i in range(50))
