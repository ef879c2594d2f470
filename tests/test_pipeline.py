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
