"""The self-check's table on this machine, its words for what is not promised, and that it sees a broken promise."""

import os
import shutil
import subprocess
import tempfile
from dataclasses import replace

import pytest

from parallax_lib.sandbox import landlock, sandbox
from parallax_lib.sandbox.sandbox import Level
from parallax_lib.verdict.assurance import sandbox_check

BARE = ["bwrap", "--unshare-user", "--ro-bind", "/", "/", "g++", "--version"]
ABLE = shutil.which("bwrap") is not None and subprocess.run(BARE, capture_output=True).returncode == 0
pytestmark = pytest.mark.skipif(not ABLE, reason="needs g++, bubblewrap and user namespaces")
LESSER = Level("degraded", user=sandbox.NOBODY if os.geteuid() == 0 else None)
SLOW = ("a fork bomb ends", "CPU time ends a loop that ignores signals", "sources over 1 MiB are refused")  # their own tests exist
QUICK = [c for c in sandbox_check.CHECKS if c.promise not in SLOW]


def only(monkeypatch, *words):
    monkeypatch.setattr(sandbox_check, "CHECKS", [c for c in QUICK if not words or any(w in c.promise for w in words)])


def test_bubblewrap_keeps_every_promise(monkeypatch):
    only(monkeypatch)
    text, holds = sandbox_check.table([sandbox.probe()])
    assert holds, text
    assert text.count("\n") + 1 == len(QUICK) and "not promised" not in text


@pytest.mark.skipif(not landlock.landlock_abi(), reason="the kernel has no Landlock")
@pytest.mark.skipif(bool(sandbox.broken_promise(LESSER)), reason="the degraded level does not hold here")
@pytest.mark.slow
def test_the_degraded_level_keeps_what_it_promises_and_says_what_it_does_not(monkeypatch):
    only(monkeypatch)
    found = sandbox_check.rows(LESSER)
    assert not [row for row in found if row.ok is False]
    unkept = {row.promise for row in found if row.ok is None}
    assert {"own process numbers", "the work folder is sized", "kill -9 of the harness leaves nothing"} <= unkept


def test_a_leak_is_seen(monkeypatch):
    only(monkeypatch, "no network", "no writable host path")
    whole = sandbox.probe()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        leaky = replace(whole, options=(*whole.options, "--share-net", "--bind", folder, "/mnt"))
        found = {row.promise: row.ok for row in sandbox_check.rows(leaky)}
    assert set(found.values()) == {False}
