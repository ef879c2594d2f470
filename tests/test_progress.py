"""What is said of long work: rates and remaining time, a line at least every ten seconds, a run that is followed from elsewhere."""

import inspect
import json
import os
import subprocess
import sys
import time

import pytest

from parallax_lib import commands
from parallax_lib.__main__ import parser
from parallax_lib.core import progress
from parallax_lib.core.config import ROOT
from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import held
from parallax_lib.study import pipeline, status

HOLDER = """
import sys, time
from pathlib import Path
from parallax_lib.core.storage import held
with held(Path(sys.argv[1])):
    time.sleep(60)
"""


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def test_a_line_has_counts_rate_and_remaining_time():
    clock, kept = Clock(), []
    meter = progress.Meter(lambda levels: kept.append(list(levels)), clock)
    meter("translate", 2, 12, "programs")  # two were there before
    clock.now += 20
    meter("translate", 6, 12, "programs")
    meter.inside("decode", 0, 4000, "tokens", most=True)
    clock.now += 10
    meter.inside("decode", 800, 4000, "tokens", "1/6 programs ended", most=True)
    outer, inner = progress.line(kept[-1], clock.now).split(" | ")
    assert outer == "translate: 6/12 programs, 0.13/s, about 45 s left"  # 4 in 30 s, so 6 in 45 s
    assert inner == "decode: 800 of at most 4,000 tokens, 80/s, at most 40 s left, 1/6 programs ended"
    meter("translate", 12, 12, "programs")  # the work has moved on: nothing is in hand
    assert progress.line(kept[-1], clock.now) == "translate: 12/12 programs, in 30 s"
    assert progress.line(kept[-1], clock.now + 15) == "translate: 12/12 programs, in 30 s, then at work for 15 s"


def test_counts_that_start_again_have_a_rate_of_their_own():
    clock, kept = Clock(), []
    meter = progress.Meter(lambda levels: kept.append(list(levels)), clock)
    for _ in range(2):
        meter("train", 0, 10)
        clock.now += 5
        meter("train", 10, 10)
        clock.now += 100
    assert progress.line(kept[-1], clock.now - 100) == "train: 10/10, in 5 s"


@pytest.mark.parametrize(("rate", "text"), [(1234.4, "1,234/s"), (80, "80/s"), (0.5, "0.5/s"), (1 / 130, "2 min 10 s each")])
def test_a_slow_rate_is_said_as_the_time_of_one(rate, text):
    assert progress.rate_text(rate) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (59.4, "59 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")])
def test_durations_are_read_as_a_person_says_them(seconds, text):
    assert progress.duration(seconds) == text


def test_a_line_is_said_every_ten_seconds_and_not_for_every_count(tmp_path):
    clock, said = Clock(), []
    file = tmp_path / progress.FILE
    meter = progress.Meter(progress.to_file(file)._keep, clock)
    printer = progress.Printer(file, "[01]", lambda line: said.append((clock.now - 1000, line)), clock)
    for second in range(90):
        if 20 <= second < 50:
            meter("collect", second, 100, "programs")
        printer.look()
        clock.now += 1
    times = [when for when, _ in said]
    gaps = [b - a for a, b in zip([0, *times], [*times, 90], strict=True)]
    assert max(gaps) <= progress.EVERY_S and min(gaps[1:-1]) >= progress.CHANGED_S
    assert said[0] == (10, "[01]   at work for 10 s") and sum("collect: 49/100" in line for _, line in said) >= 4


def test_a_half_written_or_foreign_file_is_no_count(tmp_path):
    file = tmp_path / progress.FILE
    for text in ("", "[{", '[{"what": "x"}]', '{"what": "collect", "done": 1}', "[1]"):
        file.write_text(text)
        assert progress.read(file) == []


def run_of(tmp_path, **records):
    folder = tmp_path / "run"
    (folder / "notebooks").mkdir(parents=True)
    (folder / pipeline.MANIFEST).write_text("{}")
    for stage in pipeline.stages():
        if record := records.get(f"s{stage.number}"):
            (folder / "notebooks" / f"{stage.notebook.stem}.run.json").write_text(json.dumps(record))
    return folder


def test_status_tells_done_at_work_stopped_failed_and_not_yet(tmp_path):
    records = {"s01": {"status": "ok", "seconds": 61.0}, "s02": {"status": "failed", "error": "UserError: no memory"}}
    folder = run_of(tmp_path, **records, s03={"status": pipeline.RUNNING, "began": 1000.0})
    states = [line.split(maxsplit=2)[2] for line in status.stage_lines(folder, True, 1042.0)]
    assert states[:4] == ["done in 1 min 01 s", "failed: UserError: no memory", "at work for 42 s", "not yet"]
    assert "stopped" in status.stage_lines(folder, False, 1042.0)[2]
    said = []
    assert status.follow(str(folder), said.append) == folder and "nothing is at work" in said[0] and len(said) == 7


def test_status_knows_who_is_at_work(tmp_path):
    folder = run_of(tmp_path)
    assert status.at_work(folder) == 0
    with held(folder):
        assert status.at_work(folder) == os.getpid()
    assert status.at_work(folder) == 0  # though this process lives on
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], cwd=ROOT)
    while not status.at_work(folder):
        time.sleep(0.05)
    assert status.at_work(folder) == process.pid
    process.kill()
    process.wait()
    assert status.at_work(folder) == 0
    os.utime(folder / "lock", (1, 1))  # its number belongs to a younger process now
    (folder / "lock").write_text(f"{os.getpid()}\n")
    os.utime(folder / "lock", (1, 1))
    assert status.at_work(folder) == 0


def test_every_command_that_is_written_can_be_given():
    listed = next(action for action in parser()._actions if isinstance(action.choices, dict)).choices
    reached = {options.get_default("go") for options in listed.values()}
    written = [f for name, f in vars(commands).items() if inspect.isfunction(f) and f.__module__ == commands.__name__ and name[0] != "_"]
    assert [f.__name__ for f in written if f not in reached and "args" in inspect.signature(f).parameters] == []
    assert parser().parse_args(["status", "demo", "--once"]).once


def test_status_of_a_misspelt_run_names_the_nearest(tmp_path, monkeypatch):
    monkeypatch.setattr(status, "ROOT", tmp_path)
    with pytest.raises(UserError, match="status demo: no run of this name in data/runs, and no other one"):
        status.folder_of("demo")
    (tmp_path / "data" / "runs" / "demo").mkdir(parents=True)
    (tmp_path / "data" / "runs" / "demo" / pipeline.MANIFEST).write_text("{}")
    with pytest.raises(UserError, match="did you mean 'demo'"):
        status.folder_of("demmo")
    assert status.folder_of("demo").name == "demo"
