"""The journal under kill -9, damaged files, safe names."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from parallax_lib.params import UserError
from parallax_lib.store import Journal, derive_seed, read_table, read_vectors, slug, write_atomic, write_vectors

WRITER = """
import sys
from parallax_lib.store import Journal
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
    with pytest.raises(UserError, match="run the earlier stages first"):
        read_table(tmp_path, "rollouts")


def test_names_are_safe_and_distinct():
    a, b = slug("../../etc/passwd\x00", 1), slug("../../etc/passwd\x00", 2)
    assert a != b and a.startswith("etc-passwd-") and "/" not in a and len(slug("x" * 500, 0)) == 61


def test_seeds_depend_on_every_part_and_on_nothing_else():
    assert derive_seed(0, "t", 1) == derive_seed(0, "t", 1)
    assert len({derive_seed(0, "t", d, b) for d in range(20) for b in range(20)}) == 400
    assert all(0 <= derive_seed(i) < 2**63 for i in range(50))
