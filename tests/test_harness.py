"""What the harness links into programs: compiled once, found by other processes, made anew when the compiler is another."""

import os
import tempfile

import pytest
from programs import sandboxed

from parallax_lib.sandbox import sandbox, scratch
from parallax_lib.verdict import harness, kept_files

SCRIPT = "cat ../job/a.cpp > a.o; cat ../job/a.cpp ../job/a.cpp > b.o"
FILES, NAMES = {"a.cpp": b"text"}, ("a.o", "b.o")
WHOLE = {"a.o": b"text", "b.o": b"texttext"}


@pytest.fixture
def jobs(monkeypatch, tmp_path):
    """The jobs that ran; nothing was made before."""
    ran, real = [], sandbox.run
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(harness, "MADE", {})
    monkeypatch.setattr(sandbox, "run", lambda argv, *more, **named: ran.append(argv) or real(argv, *more, **named))
    return ran


@sandboxed
def test_objects_are_made_once_for_all_processes_until_the_compiler_is_replaced(jobs, monkeypatch, tmp_path):
    compiler, level = tmp_path / "g++", sandbox.probe()
    compiler.write_text("one")
    jobs.clear()
    for others in (False, False, True, False):  # another process finds the files
        if others:
            monkeypatch.setattr(harness, "MADE", {})
        assert harness.made(SCRIPT, FILES, NAMES, level, str(compiler)) == (WHOLE, "") and len(jobs) == 1
    compiler.write_text("another")
    assert harness.made(SCRIPT, FILES, NAMES, level, str(compiler)) == (WHOLE, "") and len(jobs) == 2
    assert harness.made(SCRIPT, {"a.cpp": b"more"}, NAMES, level, str(compiler))[0]["a.o"] == b"more" and len(jobs) == 3


@sandboxed
def test_a_wrapper_of_another_compiler_makes_them_anew(jobs, monkeypatch, tmp_path):
    """As ccache's g++, which stays what it is when the compiler behind it is replaced."""
    wrapper, behind, level = tmp_path / "g++", tmp_path / "real", sandbox.probe()
    wrapper.write_text(f"#!/bin/sh\nexec {behind} \"$@\"\n")
    wrapper.chmod(0o755)
    jobs.clear()
    for n, version in enumerate(("12.2", "12.2", "13.1")):
        behind.write_text(f"#!/bin/sh\necho g++ {version}\n")
        behind.chmod(0o755)
        monkeypatch.setattr(harness, "MADE", {})
        kept_files._version.cache_clear()
        assert harness.made(SCRIPT, FILES, NAMES, level, str(wrapper)) == (WHOLE, "") and len(jobs) == 1 + n // 2


@sandboxed
def test_what_fails_is_told_and_tried_again(jobs):
    level = sandbox.probe()
    jobs.clear()
    for n in (1, 2):
        assert harness.made("echo no such option >&2; exit 1", FILES, NAMES, level, "g++") == ({}, "no such option") and len(jobs) == n


@sandboxed
def test_without_a_folder_of_its_own_each_process_makes_them(jobs, monkeypatch, tmp_path):
    level, elsewhere = sandbox.probe(), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / f"parallax-compiled-{os.getuid()}").symlink_to(elsewhere)
    assert scratch.private("parallax-compiled") is None
    jobs.clear()
    for n in (1, 2):
        monkeypatch.setattr(harness, "MADE", {})
        assert harness.made(SCRIPT, FILES, NAMES, level, "g++") == (WHOLE, "") and len(jobs) == n
    assert not list(elsewhere.iterdir())
