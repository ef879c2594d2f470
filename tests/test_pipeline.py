"""What makes a stage run again: the settings its notebook reads, and no others."""

import json
import re

import pytest

from parallax_lib import pipeline
from parallax_lib.params import Params

STAGES = {s.number: s for s in pipeline.stages(card=True)}


def cells(stage) -> str:
    return "\n".join("".join(c["source"]) for c in json.loads(stage.notebook.read_text())["cells"] if c["cell_type"] == "code")


@pytest.mark.parametrize("number", STAGES)
def test_a_setting_that_a_notebook_reads_is_part_of_its_key_or_of_an_earlier_one(number):
    text = cells(STAGES[number])
    read = set(re.findall(r"\bP\.(\w+)\.", text)) & set(Params.model_fields)
    known = {section for n in STAGES if n <= number for section in pipeline.PART[n]}
    assert read - known == set()
    assert ("card" in pipeline.PART[number]) == ("card: dict" in text)  # papermill gives it to these only


@pytest.fixture
def executed(monkeypatch, tmp_path):
    """run(only, **sections) -> numbers of the stages that ran; nothing is computed."""
    ran, fail = [], set()

    def execute(stage, params, folder, key, record, say):
        ran.append(stage.number)
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps({"key": key, "status": "failed" if stage.number in fail else "ok"}))
        record.with_suffix("").with_suffix(".ipynb").touch()

    monkeypatch.setattr(pipeline, "execute", execute)
    monkeypatch.setattr(pipeline, "run_folder", lambda run: tmp_path)

    def run(only="", **sections):
        ran.clear()
        pipeline.run(Params(**sections), only, say=lambda text: None)
        return ",".join(ran)

    run.fail = fail
    return run


def test_a_part_of_the_stages_knows_what_the_others_left(executed):
    changed = {"collect": {"limit": 3}}
    assert executed() == "01,02,03,04,05,06" and executed() == ""
    assert executed("03") == "" and executed("02-03") == ""
    assert executed("01", **changed) == "01"
    assert executed("02", **changed) == "02"  # its own settings are the same, what it reads is not
    assert executed("02", **changed) == "" and executed("03-06", **changed) == "03,04,05,06"
    assert executed(**changed) == ""
    assert executed("07", **changed) == "07" and executed("07", **changed) == ""


def test_a_stage_runs_again_although_one_between_it_and_the_changed_one_did_not(executed):
    changed = {"collect": {"limit": 3}}
    executed()
    assert executed("01", **changed) == "01" and executed("03", **changed) == "03" and executed("06", **changed) == "06"
    assert executed(**changed) == "02,03,04,05,06"


def test_a_stage_that_read_what_a_failed_one_had_left_runs_again(executed):
    changed = {"collect": {"limit": 3}}
    executed()
    executed.fail.add("01")
    assert executed("01", **changed) == "01" and executed("02", **changed) == "02"
    executed.fail.clear()
    assert executed("01", **changed) == "01" and executed("02", **changed) == "02" and executed("02", **changed) == ""


def keys(params: Params) -> dict[str, str]:
    made, before = {}, ""
    for number, stage in STAGES.items():
        made[number] = before = stage.key(params, before)
    return made


@pytest.mark.parametrize("section, value, again", [
    ("search", {"branches": 3}, {"04", "05", "06", "07"}),
    ("prm", {"width": 32}, {"02", "03", "04", "05", "06", "07"}),
    ("card", {"seeds": (0, 1)}, {"03", "04", "05", "06", "07"}),
    ("collect", {"limit": 3}, set(STAGES)),
    ("validation", {"races": "off"}, set(STAGES)),
])  # fmt: skip
def test_a_changed_setting_runs_its_stage_and_all_after_it_again(section, value, again):
    before, after = (keys(p) for p in (Params(), Params(**{section: value})))
    assert {n for n in STAGES if before[n] != after[n]} == again
