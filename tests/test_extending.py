"""Every example of docs/EXTENDING.md, in one namespace as the cells of a notebook; and what it says of methods of one's own."""

import linecache
import re
import shutil

import pytest

from parallax_lib.core import tables
from parallax_lib.core.config import ROOT, dump

TEXT = (ROOT / "docs" / "EXTENDING.md").read_text(encoding="utf-8")
TITLES = ["", *re.findall(r"^## (.*)$", TEXT, re.M)]
CELLS = re.findall(r"```python\n(.*?)```", TEXT, re.S)


@pytest.fixture(scope="module")
def cells():
    """The namespace after each cell, by title; the tables are as before afterwards."""
    before = {name: dict(table) for name, table in own_tables().items()}
    space, after = {"__name__": "__main__"}, {}
    folder = ROOT / "data" / "runs" / "extending"
    shutil.rmtree(folder, ignore_errors=True)
    for title, cell in zip(TITLES, CELLS, strict=True):
        file = f"<cell {title}>"
        linecache.cache[file] = (len(cell), None, cell.splitlines(True), file)
        exec(compile(cell, file, "exec"), space)
        after[title] = dict(space)
    yield after
    for name, table in own_tables().items():
        table.clear()
        table.update(before[name])
    shutil.rmtree(folder, ignore_errors=True)


def own_tables():
    return {name: vars(__import__(home, fromlist=[name])).get(name, {}) for name, home in tables.TABLES.items()}


def test_every_example_is_short_and_runs_and_every_table_has_one(cells):
    assert all(len([line for line in cell.splitlines() if line.strip()]) <= 14 for cell in CELLS)
    for name, home in tables.TABLES.items():
        assert f"| `{name}` | `{home.removeprefix('parallax_lib.')}` |" in TEXT
    plain, shifted, aligned = (cells[title]["rollouts"] for title in ("A reward", "A proposal", "An alignment"))
    names = [set(frame["capture_id"]) for frame in (plain, shifted, aligned)]
    assert not names[0] & names[1] and not names[0] & names[2] and not names[1] & names[2]
    R = cells["A suite"]["R"]
    assert dump(R.params)["reward"]["spec"].startswith("race_free-") and R.params.latent.proposal == "gaussian"
    assert cells["A loss"]["model"].config.output == "sigmoid" and len(cells["A loss"]["history"])
    guided = cells["A reward model"]["translations"].query("arm == 'guided'")
    assert (guided["prm_calls"] > 0).all() and guided["score"].between(0, 1).all()
    steps, drawn = (cells[title]["translations"].set_index(["arm", "sample"])["picks"] for title in ("A reward model", "A policy"))
    assert (steps == drawn).drop(index=[("guided", 0)]).all() and steps["guided", 0] != drawn["guided", 0]
    results = cells["A method"]["results"].set_index("arm")
    assert {"shortest", "shortest@cost", "third", "unguided"} <= set(results.index) and results.loc["shortest", "looked_at"] == 2
    assert set(cells["A suite"]["rollouts"]["family"]) == {"sums"}
