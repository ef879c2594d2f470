"""The table of choosers: against a loop that writes one program after another, and the study's figures from the tables that ship."""

import numpy as np
import pandas as pd
import pytest

from parallax_lib.analysis import comparisons, metrics
from parallax_lib.core.config import ROOT
from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import read_table
from parallax_lib.search import arms, choosers, plan_prior, untrained_rule
from parallax_lib.search.choosers import Choice
from parallax_lib.search.rollout_files import read_rollouts
from parallax_lib.study import cross_validation
from parallax_lib.tasks.synthetic import generator

STUDY = ROOT / "data" / "study"
FATES = [(0, "no_code"), (1, "compile_error"), (2, "crash"), (2, "not_checkable"), (3, "cuda_error"), (4, "nondeterministic"),
         (3, "wrong_output"), (4, "not_parallel"), (5, "ok")]  # fmt: skip
LAST_INNOCENT = 6  # from here on a program's own runs show nothing wrong


def looks(groups=60, seed=0):
    """Groups of one to six programs with many ties; some have no likelihood, score or suitable words."""
    rng, rows = np.random.default_rng(seed), []
    for group in range(groups):
        size = int(rng.integers(1, 7))
        lot = rng.integers(size)
        for place in range(size):
            level, reason = FATES[rng.integers(len(FATES))]
            rows.append({
                "group": group, "place": place, "chance": place == lot, "level": level, "reason": reason, "validated": level == 5,
                "mean_logprob": rng.choice([-2.0, -1.0, np.nan]), "score": rng.choice([0.1, 0.2, np.nan]), "suited": rng.integers(3),
                "latent_steps": 4, "think_cost": 4, "prm_calls": 3, "score_cost": 0.5, "decode_tokens": int(rng.integers(5, 50)),
                "prompt": 100, "score_plan": rng.choice([0.1, 0.2, np.nan]), "score_program": rng.choice([0.1, 0.2, np.nan]),
                "cost_plan": 2.5, "cost_program": 7.0,
                "agrees": rng.choice([0.0, 1.0, np.nan]), "printed": rng.choice(["a", "b", None]),
                "prior": rng.choice([-1.0, -0.5]),
            })  # fmt: skip
    return pd.DataFrame(rows).sample(frac=1, random_state=seed, ignore_index=True)


def naive(rows, name, most=99):
    """(the row taken, its costs) of one group, by having its programs written one after another; None where there is none to write."""
    innocent = lambda r: (r["level"], r["reason"]) in FATES[LAST_INNOCENT:]  # noqa: E731
    likely = lambda r: -9e9 if np.isnan(r["mean_logprob"]) else r["mean_logprob"]  # noqa: E731
    rows = sorted(rows, key=lambda r: r["place"])
    ranked = name in ("guided", "guided_filter", "guided_agreeing")
    agrees = lambda r: innocent(r) and r["agrees"] == 1  # noqa: E731
    if ranked:
        rows = sorted((r for r in rows if not np.isnan(r["score"])), key=lambda r: -r["score"])
    elif name == "prior_corrected":
        rows = [r for r in rows if not np.isnan(r["mean_logprob"])]
    elif name == "untrained_rule":
        rows = sorted(rows, key=lambda r: -r["suited"])
    elif name == "plan_prm":
        rows = sorted((r for r in rows if not np.isnan(r["score_plan"])), key=lambda r: -r["score_plan"])
    elif name == "program_prm":
        rows = rows if any(r["score_program"] > 0 for r in rows) else []
    elif name == "random":
        rows = sorted(rows, key=lambda r: not r["chance"])
    if not rows:
        return None
    written = []
    for r in rows[: 1 if name in ("unguided", "random", "guided", "untrained_rule", "plan_prm") else most]:
        written.append(r)
        if name in ("first_survivor", "guided_filter") and innocent(r) or name in ("first_agreeing", "guided_agreeing") and agrees(r):
            break
    same = lambda r: sum(innocent(o) and o["printed"] == r["printed"] for o in written) * (innocent(r) and r["printed"] is not None)  # noqa: E731
    value = {
        "best_of_n": likely,
        "prior_corrected": lambda r: likely(r) - r["prior"],
        "compile_filter": lambda r: (r["level"] >= 2, likely(r)),
        "execution_filter": lambda r: (innocent(r), likely(r)),
        "first_survivor": innocent,
        "guided_filter": innocent,
        "majority": lambda r: (same(r), innocent(r), likely(r)),
        "agreement_filter": lambda r: (agrees(r), innocent(r), likely(r)),
        "first_agreeing": lambda r: (agrees(r), innocent(r)),
        "guided_agreeing": lambda r: (agrees(r), innocent(r)),
        "oracle": lambda r: (2 * r["validated"] + (r["reason"] == "not_checkable"), likely(r)),
        "program_prm": lambda r: -9e9 if np.isnan(r["score_program"]) else r["score_program"],
    }.get(name, lambda r: 0)
    trajectory = rows if ranked or name in ("untrained_rule", "plan_prm") else written
    read = {"plan_prm": 2.5, "program_prm": 7.0}.get(name, 0) * len(trajectory)
    made = ("majority", "agreement_filter", "first_agreeing", "guided_agreeing")
    checked = written if name in ("compile_filter", "execution_filter", "first_survivor", "guided_filter", *made, "oracle") else []
    again, source = sum(map(innocent, written)) * (name in made), int(name in made[1:])
    spent = {
        "looked_at": len(written), "latent_steps": 4 * len(trajectory), "prm_calls": 3 * len(trajectory) * ranked,
        "decode_tokens": sum(r["decode_tokens"] for r in written), "compiles": sum(r["level"] >= 1 for r in checked) + source,
        "validator_runs": sum(r["level"] >= 2 for r in checked) * (name != "compile_filter") + again + source,
    }  # fmt: skip
    cost = 100 + spent["latent_steps"] + 0.5 * len(trajectory) * ranked + read + spent["decode_tokens"]
    return max(written, key=value), spent | {"cost": cost}  # max takes the first of equals


def test_every_chooser_is_a_plain_loop_that_writes_one_program_after_another():
    table = looks()
    by_group = {group: part.to_dict("records") for group, part in table.groupby("group")}
    for name, chooser in choosers.CHOOSERS.items():
        for most in (None, 1, 2, 4):
            found = choosers.choose(table, chooser, most)
            assert found["group"].is_unique
            got = {row["group"]: (at, row) for at, row in zip(found.index, found.to_dict("records"), strict=True)}
            for group, rows in by_group.items():
                wanted = naive(rows, name, most or 99)
                if wanted is None:
                    assert group not in got, (name, most, group)
                    continue
                at, row = got[group]
                taken, spent = wanted
                assert table.loc[at, "place"] == taken["place"], (name, most, group)
                assert {key: row[key] for key in spent} == pytest.approx(spent), (name, most, group)


def test_by_count_is_choose_under_every_limit():
    table = looks(20, seed=1)
    size = table.groupby("group").size()
    filters = choosers.named(choosers.FILTERS)
    counted = choosers.by_count(table, filters | choosers.named(["guided"]), least=2)
    assert set(counted["arm"]) == set(filters) and set(counted["N"]) == set(range(2, table["place"].max() + 2))
    for (name, n), part in counted.groupby(["arm", "N"]):
        whole = choosers.choose(table, filters[name], n)
        pd.testing.assert_frame_equal(part.drop(columns=["arm", "N"]), whole[whole["group"].isin(size.index[size >= n])])


def test_first_survivor_pays_for_the_programs_up_to_it_and_for_no_other():
    """The study's pool, program by program."""
    pool = read_table(STUDY, "pool")
    table = arms.derive(pd.concat([pool]), ["first_survivor"]).set_index(["seed", "task"])
    bad = ("nondeterministic", "no_kernel_launch", "cuda_error")
    for key, part in pool.groupby(["seed", "task"]):
        tokens = compiles = runs = written = 0
        for r in part.sort_values("sample").to_dict("records"):
            written, tokens = written + 1, tokens + r["decode_tokens"] + r["latent_steps"]
            compiles, runs = compiles + (r["level"] >= 1), runs + (r["level"] >= 2)
            if r["level"] >= 3 and r["reason"] not in bad:
                break
        else:
            r = part.sort_values("sample").iloc[0]
        row = table.loc[key]
        assert row["sample"] == r["sample"] and row["cost"] == r["prefill_tokens"] + tokens
        assert (row["looked_at"], row["compiles"], row["validator_runs"]) == (written, compiles, runs)


def share(rows, arm):
    return 100 * rows.loc[rows["arm"] == arm, "validated"].mean()


def test_the_figures_of_filters_in_the_studys_pool():
    results = read_table(STUDY, "results")
    for arm, rate, written in (("first_survivor", 57.3, 3.4), ("execution_filter", 54.8, 8), ("guided", 50.7, 1), ("unguided", 37.8, 1)):
        assert share(results, arm) == pytest.approx(rate, abs=0.051), arm
        assert results.loc[results["arm"] == arm, "looked_at"].mean() == pytest.approx(written, abs=0.051), arm
    again = arms.derive(pd.concat([results[results["arm"].isin(arms.LIVE)], read_table(STUDY, "pool")]))
    columns = ["arm", "seed", "task", "sample", "validated", "reason", "cost", "looked_at", "compiles", "validator_runs"]
    a, b = (frame[columns].sort_values(["arm", "seed", "task"], ignore_index=True) for frame in (results, again))
    pd.testing.assert_frame_equal(a, b, check_dtype=False)


@pytest.fixture(scope="module")
def collected():
    """The rollouts of families that the translator was not trained on."""
    rows = read_rollouts("data/rollouts")[0]
    return rows[~rows["family"].isin(generator.SEEN_FAMILIES)].reset_index(drop=True)


def test_the_untrained_rule_picks_53_per_cent_of_the_collected_tasks(collected):
    taken = cross_validation.choices(collected, np.zeros(len(collected)), chosen_by=["unguided", "untrained_rule"])
    assert (taken["arm"] == "untrained_rule").sum() == 1888
    assert share(taken, "untrained_rule") == pytest.approx(53.0, abs=0.051)
    for name in ("cross_validation", "text_choosers"):
        shipped = read_table(STUDY, name)
        got, wanted = (frame[frame["arm"] == "untrained_rule"].drop_duplicates("task") for frame in (shipped, taken))
        assert dict(zip(got["task"], got["capture_id"], strict=True)) == dict(zip(wanted["task"], wanted["capture_id"], strict=True)), name
    shipped = read_table(STUDY, "cross_validation")
    assert share(shipped, "guided_mean") == pytest.approx(50.5, abs=0.051)
    both = shipped[shipped["arm"].isin(["guided_mean", "untrained_rule"])]
    assert metrics.paired(both, "untrained_rule", "guided_mean")["low"] > 0


def test_filters_among_collected_thoughts_are_those_that_ship(collected):
    shipped, keys = read_table(STUDY, "cross_validation_filtered"), ["arm", "N", "task"]
    free = ["execution_filter", "first_survivor"]
    again = cross_validation.filtered(collected, np.zeros(len(collected)), filters=free)
    a, b = (frame.sort_values(keys, ignore_index=True) for frame in (shipped[shipped["arm"].isin(free)], again))
    pd.testing.assert_frame_equal(a, b, check_dtype=False)
    table = comparisons.by_programs(shipped).set_index(["against", "N"])
    first = table.loc[("first_survivor", 8)]
    assert (100 * first[["rate_a", "rate_b"]]).tolist() == pytest.approx([61.5, 60.0], abs=0.051)
    assert (100 * first[["diff", "low", "high"]]).tolist() == pytest.approx([1.5, 0.5, 2.5], abs=0.1)
    assert 100 * table.loc[("execution_filter", 8), "diff"] == pytest.approx(4.0, abs=0.051)


def shortest(looks):
    return Choice("trajectories", -looks["decode_tokens"], most=1)


def test_a_function_of_ones_own_chooses_beside_the_names(collected):
    pool = read_table(STUDY, "pool")
    table = arms.derive(pool, ["oracle", shortest])
    assert table["arm"].unique().tolist() == ["oracle", "shortest"]
    least = pool.groupby(["seed", "task"])["decode_tokens"].min()
    taken = table[table["arm"] == "shortest"].set_index(["seed", "task"])["decode_tokens"]
    assert (taken == least[taken.index]).all()
    rows = collected[collected["task"].isin(collected["task"].unique()[:40])]
    own = cross_validation.choices(rows, np.zeros(len(rows)), chosen_by=["unguided", shortest])
    assert set(own["arm"]) == {"unguided", "shortest"}
    assert (own[own["arm"] == "shortest"].set_index("task")["tokens"] == rows.groupby("task")["tokens"].min()).all()
    with pytest.raises(UserError, match="'first_surviver' is no chooser; did you mean 'first_survivor'"):
        cross_validation.choices(rows, np.zeros(len(rows)), chosen_by=["first_surviver"])


def test_an_arm_that_is_added_to_the_table_is_derived_in_its_place(monkeypatch):
    monkeypatch.setitem(arms.ARMS, "shortest", shortest)
    pool = read_table(STUDY, "pool")
    assert arms.derive(pool)["arm"].unique().tolist()[-1] == "shortest"
    assert arms.derive(pool, ["shortest", "best_of_n"])["arm"].unique().tolist() == ["best_of_n", "shortest"]


def test_old_names_in_older_tables_are_todays(tmp_path):
    old = pd.DataFrame({"arm": ["run_filter", "run_filter@cost", "guided"], "against": ["guided", "run_filter", None],
                        "comparison": ["guided - run_filter", "", "x"], "run_filter": [0.1, 0.2, 0.3],
                        "code": "run_filter"})  # fmt: skip
    old.to_parquet(tmp_path / "results.parquet")
    new = read_table(tmp_path, "results")
    assert new["arm"].tolist() == ["execution_filter", "execution_filter@cost", "guided"]
    assert new["against"].iloc[1] == "execution_filter" and new["comparison"].iloc[0] == "guided - execution_filter"
    assert list(new) == ["arm", "against", "comparison", "execution_filter", "code"] and set(new["code"]) == {"run_filter"}


ACCUMULATIONS = [  # a function's head, its body, whether it accumulates
    ("void f(int n, double *y)", "double acc = 0; for (int i = 0; i < n; i++) acc += y[i]; y[0] = acc;", True),
    ("void f(int n, double *y)", "double acc = 0; for (int i = 0; i < n; i++) acc = acc + y[i]; y[0] = acc;", True),
    ("void f(int n, double *y)", "for (int i = 0; i < n; i++) { double r = 0; for (int j = 0; j < 9; j++) r += y[j]; y[i] = r; }", False),
    ("void f(int n, double *y)", "for (int i = 0; i < n; i++) y[i] += 2;", False),
    ("void f(int n, double *y)", "for (int b = 0; b < n; b += 64) for (int i = b; i < b + 64; i++) y[i] += 2;", False),
    ("void f(int n, double *y)", "for (int i = 0; i < n; i++) for (int j = i + 1; j < n; j++) y[j] += 2;", True),
    ("void f(int n, double *y, int *at)", "for (int i = 0; i < n; i++) y[at[i]] += 2;", True),
    ("void f(int n, double *y)", "for (int j = 0; j < n; j++) for (int i = 0; i < n; i++) y[j] += 2;", False),
    ("void f(int n, double *y)", "double a = 0;\n#pragma omp parallel for reduction(+:a)\nfor (int i = 0; i < n; i++) a += y[i];", True),
    ("__global__ void f(int n, double *y)", "int i = threadIdx.x; if (i < n) atomicAdd(&y[0], 1.0);", True),
    ("__global__ void f(int n, double *y)", "double r = 0; for (int j = 0; j < 9; j++) r += y[j]; y[threadIdx.x] = r;", False),
]


def test_what_accumulates_by_hand():
    for head, body, wanted in ACCUMULATIONS:
        source = f"#include <cmath>\n\n{head} {{ {body} }}\n\nint main() {{ }}\n"
        assert untrained_rule.accumulating(source) == (wanted,), body
        plans = ("parallel none", "atomic none", "serial none")
        assert [untrained_rule.suits(plan, source) for plan in plans] == [not wanted, wanted, 0]


def test_words_are_matched_to_functions_in_their_order():
    both = "".join(f"{head} {{ {body} }}\n" for head, body, _ in ACCUMULATIONS[:1] + ACCUMULATIONS[3:4]) + "int main() { }"
    rows = pd.DataFrame({"plan": ["reduction parallel none", "parallel reduction none", "reduction"], "source_code": both})
    assert untrained_rule.suited(rows).tolist() == [2, 0, 1]
    assert untrained_rule.suited(rows[["plan"]]).isna().all()


def test_choosers_that_need_made_inputs_find_nothing_without_them():
    table = looks(5)
    bare = table.drop(columns=["agrees", "printed"])
    for name in ("majority", "agreement_filter", "first_agreeing", "guided_agreeing"):
        assert choosers.choose(bare, choosers.CHOOSERS[name]).empty and len(choosers.choose(table, choosers.CHOOSERS[name]))


def test_a_plans_prior_is_the_mean_of_training_programs_with_its_words_in_its_direction():
    training = pd.DataFrame({
        "direction": ["a", "a", "a", "a", "b"], "plan": ["x y x", "y x", "x", "z", "x y"], "mean_logprob": [-1.0, -2.0, -4.0, np.nan, -8.0],
    })  # fmt: skip
    rows = pd.DataFrame({"direction": ["a", "a", "a", "b", "c"], "plan": ["x y", "x", "z", None, "x"]}, index=[3, 1, 4, 0, 2])
    wanted = [-1.5, -4.0, -7 / 3, -8.0, np.nan]
    found = plan_prior.prior(rows, training)
    assert found.index.tolist() == rows.index.tolist() and found.tolist() == pytest.approx(wanted, nan_ok=True)
