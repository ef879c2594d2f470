"""The study's page: made from the shipped tables to the byte, its figures against a naive loop, and what --ship keeps."""

import re
import sys

import frames
import numpy as np
import pandas as pd
import pytest

from parallax_lib.params import ROOT, UserError

sys.path.insert(0, str(ROOT / "scripts"))
import study_page  # noqa: E402

STUDY = ROOT / "data" / "study"


@pytest.fixture(scope="module")
def made():
    """The page as the command makes it in the repository's root."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return study_page.page(STUDY.relative_to(ROOT))


def rows_of(page: str, title: str) -> list[dict[str, str]]:
    """Every table row of a section: its cells by column."""
    rows, names = [], []
    for line in page.split(f"\n## {title}\n")[1].split("\n## ")[0].splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if not cells:
            names = []
        elif not names:
            names = cells
        elif cells[0] != "---":
            rows.append(dict(zip(names, cells, strict=True)))
    return rows


def naive(table: pd.DataFrame, arm: str, other: str, keep) -> dict:
    """arm - other over the tasks that `keep` takes: one loop, fractions of seeds, an interval from another generator."""
    outcomes = {}
    for row in table[["task", "kernel", "direction", "arm", "validated"]].to_dict("records"):
        if keep(row) and row["arm"] in (arm, other):
            outcomes.setdefault(row["task"], {}).setdefault(row["arm"], []).append(bool(row["validated"]))
    pairs = [[sum(got[name]) / len(got[name]) for name in (arm, other)] for got in outcomes.values()]
    gains = np.array([a - b for a, b in pairs])
    means = gains[np.random.default_rng(7).integers(0, len(gains), (3000, len(gains)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    told = {"tasks": len(pairs), "wins": int((gains > 0).sum()), "losses": int((gains < 0).sum()), "diff": gains.mean()}
    return told | {"low": low, "high": high, arm: sum(a for a, _ in pairs) / len(pairs), other: sum(b for _, b in pairs) / len(pairs)}


def agrees(row: dict[str, str], wanted: dict) -> bool:
    """Counts to the unit, shares to the page's three digits, interval ends to what resampling leaves open."""
    near = {name: 0.006 if name in ("low", "high") else 0.00051 for name in row}
    return all(abs(float(row[name]) - value) <= near[name] for name, value in wanted.items() if name in row)


def test_the_page_is_made_from_the_shipped_tables(made):
    assert made == (ROOT / "docs" / "STUDY.md").read_text(encoding="utf-8")
    assert sum(path.stat().st_size for path in STUDY.iterdir()) < 2.5e6


@pytest.mark.parametrize("name, stage", [("results", "05"), ("crossfit", "03")])
def test_differences_by_suite_and_direction_are_those_of_a_naive_loop(made, name, stage):
    table, rows = pd.read_parquet(STUDY / f"{name}.parquet"), rows_of(made, f"Guided minus unguided by suite and by direction ({stage})")
    assert [row.get("suite", row.get("direction")) for row in rows] == ["generated", "hand-written", *sorted(frames.DIRECTIONS)]
    for row in rows:

        def here(r, row=row):
            generated = bool(re.search(r"_\d+$", r["kernel"]))
            return r["direction"] == row["direction"] if "direction" in row else generated == (row["suite"] == "generated")

        assert agrees(row, naive(table, "guided", "unguided", here)), row


@pytest.mark.parametrize("name, stage", [("results", "05"), ("crossfit", "03")])
def test_differences_between_arms_are_those_of_a_naive_loop(made, name, stage):
    table, rows = pd.read_parquet(STUDY / f"{name}.parquet"), rows_of(made, f"Guided minus every other arm ({stage})")
    assert {row["against"] for row in rows} == {arm for arm in table["arm"].unique() if "@" not in arm} - {"guided"}
    for row in rows:
        wanted = naive(table, "guided", row["against"], lambda r: True)
        assert agrees(row, wanted | {"rate_a": wanted["guided"], "rate_b": wanted[row["against"]]}), row


def test_the_first_lines_say_where_guidance_gains_nothing(made):
    first = made.split("\n## ")[0]
    assert "Guidance gains on generated kernels; it gains nothing on hand-written kernels." in first
    assert "18 tasks, 0 wins, 18 ties, 0 losses: no difference shown" in first


def run_folder(folder):
    """A tiny run: its arms, an `@cost` arm that is the unguided one again and one that is not, rollouts, stage 03's tables."""
    results = frames.results().replace({"kernel": {"saxpy": "n_map_7"}}).assign(race_free="not checked", faster="not checked", compiles=0)
    again = results[results["arm"] == "unguided"]
    other = again.assign(arm="oracle@cost", validated=~again["validated"])
    tables = {
        "results": pd.concat([results, again.assign(arm="best_of_n@cost", compiles=1), other]),
        "rollouts": frames.rollouts().assign(reward=1.0),
        "crossfit": results,
        "crossfit_differences": study_page.card.differences(results),
        "crossfit_gaps": study_page.card.gap_closed(results),
        "crossfit_families": study_page.card.by_family(results),
        "journal": pd.DataFrame({"not": ["shipped"]}),
    }
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet")
    return folder


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    return run_folder(tmp_path / "run")


def test_what_is_shipped_makes_the_same_page(run, tmp_path):
    out = tmp_path / "small"
    study_page.ship(run, out)
    assert study_page.page(out) == study_page.page(run).replace(str(run), str(out))
    shipped = {path.stem for path in out.iterdir()}
    assert shipped == {"results", "crossfit", "crossfit_differences", "crossfit_gaps", "crossfit_families", "collected"}
    assert not set(study_page.TEXTS) & set(pd.read_parquet(out / "crossfit.parquet").columns)
    pd.testing.assert_frame_equal(pd.read_parquet(out / "results.parquet"), pd.read_parquet(run / "results.parquet"))
    study_page.ship(out, tmp_path / "again")
    assert all((tmp_path / "again" / path.name).read_bytes() == path.read_bytes() for path in out.iterdir())


def test_arms_at_cost_are_left_out_only_where_they_are_the_unguided_arm_again(run):
    page = study_page.page(run)
    arms = [row["arm"] for row in rows_of(page, "Arms on held-out tasks (04, 05)")]
    assert "oracle@cost" in arms and "best_of_n@cost" not in arms and "`best_of_n@cost` (only" in page


def test_a_section_carries_its_note_and_a_note_of_nothing_is_refused(run):
    notes = run / "notes.json"
    notes.write_text('{"results": "Of today.", "Collected (01)": "Few.", "variations": "Not there yet."}')
    page = study_page.page(run)
    assert "## Arms on held-out tasks (04, 05)\n\nOf today.\n\n" in page and "## Collected (01)\n\nFew.\n\n" in page and "yet" not in page
    notes.write_text('{"result": "Of today."}')
    with pytest.raises(UserError, match="'result' is neither a table nor a section"):
        study_page.page(run)


def test_cells_of_a_table_and_the_legend():
    told = study_page.told("", pd.DataFrame({"p_value": [1e-9, 0.25], "gain": [float("nan"), 0.12345]}), gain="what is won")
    assert (
        told.endswith("| <0.001 |  |\n| 0.25 | 0.123 |")
        and told.startswith("`p_value`: exact sign test")
        and "`gain`: what is won." in told
    )


def test_a_folder_without_tables_is_an_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["study_page.py", str(tmp_path)])
    with pytest.raises(SystemExit):
        study_page.main()
    assert "holds none of results" in capsys.readouterr().err
