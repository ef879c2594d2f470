"""The study's page: made from the shipped tables to the byte, its figures against a naive loop, and what --ship keeps."""

import json
import re
import sys
from functools import cache
from itertools import combinations

import choose_again
import frames
import numpy as np
import page_words
import pandas as pd
import pytest
import study_page
import study_sections

from parallax_lib.analysis import comparisons
from parallax_lib.core.config import ROOT
from parallax_lib.core.errors import UserError

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


@cache
def outcomes(name: str) -> dict[tuple, dict[str, list[bool]]]:
    """What each arm's programs of a (task, kernel, direction) came to, read row by row."""
    table, found = pd.read_parquet(STUDY / f"{name}.parquet"), {}
    for task, kernel, direction, arm, good in zip(*(table[c] for c in ("task", "kernel", "direction", "arm", "validated")), strict=True):
        found.setdefault((task, kernel, direction), {}).setdefault(arm, []).append(bool(good))
    return found


def naive(name: str, other: str, keep=lambda kernel, direction: True) -> dict:
    """guided - other over the tasks that `keep` takes: shares of the seeds, and an interval from another generator."""
    told = [got for (_, kernel, direction), got in outcomes(name).items() if keep(kernel, direction)]
    guided, others = (np.array([sum(got[arm]) / len(got[arm]) for got in told]) for arm in ("guided", other))
    gains = guided - others
    means = gains[np.random.default_rng(7).integers(0, len(gains), (2000, len(gains)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    counts = {"tasks": len(gains), "wins": (gains > 0).sum(), "ties": (gains == 0).sum(), "losses": (gains < 0).sum()}
    shares = {"guided": guided.mean(), other: others.mean(), "rate_a": guided.mean(), "rate_b": others.mean()}
    return counts | shares | {"diff": gains.mean(), "low": low, "high": high}


def agrees(row: dict[str, str], wanted: dict) -> bool:
    """Counts to the unit, shares to the page's three digits, interval ends to what resampling leaves open."""
    return all(
        abs(float(row[name]) - value) <= (0.01 if name in ("low", "high") else 0.00051) for name, value in wanted.items() if name in row
    )


def test_the_page_is_made_from_the_shipped_tables(made):
    assert made == (ROOT / "docs" / "STUDY.md").read_text(encoding="utf-8")
    assert sum(path.stat().st_size for path in STUDY.iterdir()) < 2.5e6


@pytest.mark.parametrize("name, stage", [("results", "05"), ("cross_validation", "03")])
def test_differences_by_suite_and_direction_are_those_of_a_naive_loop(made, name, stage):
    generated, directed = ("generated", "hand-written"), sorted(frames.DIRECTIONS)
    rows = rows_of(made, f"Guided minus unguided by suite and by direction ({stage})")
    for row, suite in zip(rows[:2], generated, strict=True):
        wanted = naive(name, "unguided", lambda kernel, _, suite=suite: bool(re.search(r"_\d+$", kernel)) == (suite == "generated"))
        assert row["suite"] == suite and agrees(row, wanted), row
    for row, direction in zip(rows[2:], directed, strict=True):
        assert row["direction"] == direction and agrees(row, naive(name, "unguided", lambda _, way, this=direction: way == this)), row


@pytest.mark.parametrize("name, stage", [("results", "05"), ("cross_validation", "03")])
def test_differences_between_arms_are_those_of_a_naive_loop(made, name, stage):
    rows = rows_of(made, f"Guided minus every other method ({stage})")
    arms = {arm for got in outcomes(name).values() for arm in got if "@" not in arm}
    assert {row["against"] for row in rows} == arms - {"guided"}
    assert all(agrees(row, naive(name, row["against"])) for row in rows)


def test_the_table_of_methods_and_the_readmes_headline_are_those_of_the_shipped_rows(made):
    results, readme = ((ROOT / name).read_text(encoding="utf-8") for name in ("docs/RESULTS.md", "README.md"))
    points = re.compile(r"([+-][0-9.]+) \[([+-][0-9.]+), ([+-][0-9.]+)\]")
    for row in rows_of(results, "The methods"):
        arm, said = row["method"].split("`")[1], points.match(row["guided minus it, points"])
        wanted = naive("results", arm)
        assert abs(float(row["validated"].removesuffix(" %")) - 100 * wanted["rate_b"]) < 0.051, arm
        assert said is None if arm == "guided" else abs(float(said[1]) - 100 * wanted["diff"]) < 0.051, arm
        assert said is None or agrees({"low": float(said[2]) / 100, "high": float(said[3]) / 100}, wanted), arm
        cost = next(other["cost"] for other in rows_of(made, "Methods on held-out tasks (04, 05)") if other["method"] == arm)
        assert int(row["tokens forwarded a task"].replace(",", "")) == round(float(cost))
    closed = next(row for row in rows_of(made, "Share of the oracle's gap (05)") if row["method"] == "guided")
    share, low, high = (f"{100 * float(closed[name]):.0f}" for name in ("closed", "low", "high"))
    assert f"closes {share} % [{low}, {high}] of the oracle's gap" in results
    headline = naive("results", "unguided")
    assert f"validates {100 * headline['rate_a']:.1f} % of the tasks, unguided {100 * headline['rate_b']:.1f} %" in readme
    assert f"{100 * headline['diff']:+.1f} points [+9.0, +16.9] over tasks" in readme


def test_the_first_lines_say_where_guidance_gains_nothing(made):
    first = made.split("\n## ")[0]
    assert "Guidance gains on generated kernels; it cannot be judged on hand-written kernels, where the oracle itself gains less" in first
    assert "18 tasks, 0 wins, 18 ties, 0 losses: no difference shown" in first


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny run: its arms, an `@cost` arm that is the unguided one again and one that is not, rollouts, stage 03's tables."""
    folder = tmp_path_factory.mktemp("run")
    results = frames.results().replace({"kernel": {"saxpy": "n_map_7"}}).assign(race_free="not checked", faster="not checked", compiles=0)
    again = results[results["arm"] == "unguided"]
    tables = {
        "results": pd.concat([results, again.assign(arm="best_of_n@cost", compiles=1), again.assign(arm="oracle@cost", level=0)]),
        "rollouts": frames.rollouts().assign(reward=1.0),
        "cross_validation": results,
        "cross_validation_differences": comparisons.differences(results),
        "cross_validation_gaps": comparisons.gap_closed(results),
        "cross_validation_families": comparisons.by_family(results),
        "journal": pd.DataFrame({"not": ["shipped"]}),
    }
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet", index=False)
    return folder


@pytest.fixture(scope="module")
def page(run):
    return study_page.page(run)


def test_what_is_shipped_makes_the_same_page(run, page, tmp_path):
    out = tmp_path / "small"
    study_page.ship(run, out)
    assert study_page.page(out) == page.replace(str(run), str(out))
    shipped = {path.stem for path in out.iterdir()}
    worked_out = {f"cross_validation_{what}" for what in ("differences", "gaps", "families")}
    assert shipped == {"results", "cross_validation", "collected"} | worked_out
    assert not set(study_page.TEXTS) & set(pd.read_parquet(out / "cross_validation.parquet").columns)
    pd.testing.assert_frame_equal(pd.read_parquet(out / "results.parquet"), pd.read_parquet(run / "results.parquet"))
    study_page.ship(out, tmp_path / "again")
    assert all((tmp_path / "again" / path.name).read_bytes() == path.read_bytes() for path in out.iterdir())


def test_arms_at_cost_are_left_out_only_where_they_are_the_unguided_arm_again(page):
    arms = [row["method"] for row in rows_of(page, "Methods on held-out tasks (04, 05)")]
    assert "oracle@cost" in arms and "best_of_n@cost" not in arms and "`best_of_n@cost` (only" in page


def test_a_section_carries_its_note_and_a_note_of_nothing_is_refused(tmp_path):
    study_sections.collected(frames.rollouts()).to_parquet(tmp_path / "collected.parquet")
    notes = tmp_path / "notes.json"
    for name in ("collected", "Collected (01)"):
        notes.write_text(json.dumps({name: "Few.", "variations": "Not there yet."}))
        page = study_page.page(tmp_path)
        assert "## Collected (01)\n\nFew.\n\n| split |" in page and "yet" not in page
    notes.write_text('{"colected": "Few."}')
    with pytest.raises(UserError, match="'colected' is neither a table nor a section"):
        study_page.page(tmp_path)


def test_pass_at_k_of_the_pool_leaves_its_first_program_out_and_counts_subsets(tmp_path):
    good = {"a": [1, 0, 1, 0, 0], "b": [1, 0, 0, 0, 0]}  # by sample; two seeds of each, alike
    pool = pd.DataFrame([{"arm": "pool", "task": f"{task}.serial-omp", "seed": seed, "sample": i, "level": 5 if ok else 4, "reason": "",
                          "validated": bool(ok)} for task, oks in good.items() for seed in (0, 1) for i, ok in enumerate(oks)])  # fmt: skip
    pool.to_parquet(tmp_path / "pool.parquet")
    rows = {int(row["k"]): row for row in rows_of(study_page.page(tmp_path), "pass@k (05)")}
    assert set(rows) == {1, 2, 4, 8}
    for k, row in rows.items():
        shares = [np.mean([any(drawn) for drawn in combinations(2 * oks[1:], k)]) for oks in good.values()]
        assert float(row["pass_at_k"]) == pytest.approx(np.mean(shares), abs=6e-4)


@pytest.mark.slow
def test_choosing_again_makes_the_tables_that_ship_and_keeps_what_was_measured():
    made = choose_again.remade(STUDY, str(ROOT / "data" / "rollouts"))
    for name, rows in made.items():
        assert rows.to_parquet(index=False, **study_page.SMALL) == (STUDY / f"{name}.parquet").read_bytes(), name
    older = made["results"][~made["results"]["arm"].str.startswith("first_survivor")]
    fewer = choose_again.pool_arms(older, made["pool"])
    assert fewer[["arm", "seed", "task", "sample"]].equals(made["results"][["arm", "seed", "task", "sample"]])


def test_cells_of_a_table_and_the_legend():
    told = page_words.captioned("", pd.DataFrame({"p_value": [1e-9, 0.25], "gain": [float("nan"), 0.12345]}), gain="what is won")
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


def test_a_pool_whose_thoughts_were_scored_shows_the_guided_filter_and_the_shipped_one_does_not(made):
    title = "What N programs buy (05)"
    several = {"best_of_n", "compile_filter", "execution_filter", "first_survivor", "oracle"}
    assert {row["method"] for row in rows_of(made, title)} == several
    pool, results = (pd.read_parquet(STUDY / f"{name}.parquet") for name in ("pool", "results"))
    best_first = pool.assign(score=pool["validated"] - pool["sample"] / 100)  # a score that knows
    text = dict(study_sections.pool(best_first, results))[title]
    shown = rows_of(f"\n## {title}\n{text}", title)
    rates = {(row["method"], row["N"]): row["rate"] for row in shown}
    assert "`guided_filter` is the first survivor" in text and rates[("guided_filter", "2")] == rates[("oracle", "8")]
