"""The real code model's study: its file of programs, and the registered comparisons against plain recomputation."""

import hashlib

import numpy as np
import pandas as pd
import pytest

from parallax_lib.analysis import registered
from parallax_lib.core.config import ROOT
from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Params
from parallax_lib.core.storage import write_table
from parallax_lib.search import rollout_files
from parallax_lib.study import run as runs
from parallax_lib.study import stages

TASKS = {f"k{i}.serial-omp": f"cluster-{i // 2}" for i in range(8)}  # two tasks a cluster
REASONS = {1: "compile_error", 3: "nondeterministic", 4: "wrong_output", 5: "ok"}  # a nondeterministic program does not survive


@pytest.fixture
def real_methods(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import real_methods

    return real_methods


def program(part, arm, task, seed, sample, level, logprob=0.0, **more):
    who = {"part": part, "side": "test", "arm": arm, "seed": seed, "sample": sample, "task": task, "kernel": task.split(".")[0]}
    who |= {"suite": "hand-written", "family": TASKS[task], "direction": "serial-omp", "program": f"{arm}{task}{sample}{level}"}
    found = {"level": level, "reason": REASONS[level], "validated": level == 5, "mean_logprob": logprob}
    spent = {"prefill_tokens": 100, "latent_steps": 6, "prm_calls": 0, "decode_tokens": 50, "cost": 156.0}
    return who | found | spent | {"looked_at": 1, "compiles": 0, "validator_runs": 0} | more


@pytest.fixture(scope="module")
def study():
    """Programs of eight tasks: guided in three draws, four sampled programs, four thoughts, T0, and picks of two trainings."""
    rng, rows = np.random.default_rng(3), []
    for task in TASKS:
        def drawn():
            return int(rng.choice(list(REASONS), p=[0.2, 0.2, 0.2, 0.4]))
        for seed in range(3):
            rows += [program("guided", "unguided", task, seed, 0, drawn()), program("guided", "random", task, seed, 0, drawn())]
            rows.append(program("guided", "guided", task, seed, 0, drawn(), cost=270.0, prm_calls=48))
        rows += [program("sampled", "unguided", task, 0, 0, 5), program("sampled", "redecode", task, 0, 0, drawn())]
        rows += [program("sampled", "sampled_pool", task, 0, i, drawn(), -rng.random(), latent_steps=6 * (i == 0),
                         cost=156.0 - 6 * (i > 0)) for i in range(4)]  # fmt: skip
        rows.append(program("thoughts", "unguided", task, 0, 0, 5))
        rows += [program("thoughts", "pool", task, 0, i, drawn(), -rng.random(), suited=float(rng.integers(2))) for i in range(4)]
        rows.append(program("t0", "unguided", task, 0, 0, drawn()))
        rows += [program("picks", arm, task, seed, 0, drawn()) for arm in ("guided", "guided_filter") for seed in range(2)]
    rows = pd.DataFrame(rows)
    spoilt = rows.index[(rows["part"] == "guided") & (rows["arm"] == "guided") & rows["validated"]][0]
    rows.loc[spoilt, ["reason", "validated"]] = ["infra_error", False]
    return rows


@pytest.fixture(scope="module")
def taken(study):
    return registered.methods(study)


def by_task(programs, part, arm):
    return programs[(programs["part"] == part) & (programs["arm"] == arm)].groupby("task")["validated"].mean()


def naive_first_survivor(pool):
    """(validated, programs written, compiled, run) of each task: in turn, until one survives; the first one where none does."""
    found = {}
    for task, rows in pool.groupby("task"):
        taken, seen = None, []
        for row in rows.sort_values("sample").itertuples():
            seen.append(row)
            if row.level >= 3 and row.reason != "nondeterministic":
                taken = row
                break
        found[task] = (
            (taken or seen[0]).validated,
            len(seen),
            sum(row.level >= 1 for row in seen),
            sum(row.level >= 2 for row in seen),
        )
    return pd.DataFrame(found, index=["validated", "looked_at", "compiles", "validator_runs"]).T.astype(float)


def test_every_method_is_counted_as_by_hand(study, taken):
    table = registered.table(taken).set_index("arm")
    for arm, (part, raw) in {"unguided": ("guided", "unguided"), "guided": ("guided", "guided"), "redecode": ("sampled", "redecode"),
                             "t0": ("t0", "unguided"), registered.WHOLE: ("picks", "guided")}.items():  # fmt: skip
        share, plain = by_task(study, part, raw), by_task(study, "guided", "unguided")
        assert table.loc[arm, "rate"] == pytest.approx(share.mean()), arm
        if arm != "unguided":
            assert table.loc[arm, "diff"] == pytest.approx((share - plain).mean()), arm
    assert table.loc["guided", ["tasks", "draws", "unjudged", "cost"]].tolist() == [8, 3, 1, 270]
    columns = ["looked_at", "compiles", "validator_runs"]
    for arm, pool in (("first_survivor", "pool"), ("sampled:first_survivor", "sampled_pool")):
        twin = naive_first_survivor(study[study["arm"] == pool])
        assert table.loc[arm, "rate"] == pytest.approx(twin["validated"].mean())
        assert table.loc[arm, columns].tolist() == pytest.approx(twin[columns].mean().tolist())
    likeliest = study[study["arm"] == "sampled_pool"].sort_values("mean_logprob").drop_duplicates("task", keep="last")
    assert table.loc["sampled:best_of_n", "rate"] == likeliest["validated"].mean()
    n, p, z = 8, table.loc["redecode", "rate"], 1.959963984540054
    middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert table.loc["redecode", ["low", "high"]].tolist() == pytest.approx([(middle + s * half) / (1 + z * z / n) for s in (-1, 1)])


def test_best_of_the_sampled_programs_has_as_many_as_guided_pays_for(study, taken):
    """A first sampled program costs 156 and each further one 50: three of them 256, guided 270."""
    pool = study[(study["arm"] == "sampled_pool") & (study["sample"] < 3)]
    likeliest = pool.sort_values("mean_logprob").drop_duplicates("task", keep="last").set_index("task")
    found = taken[taken["arm"] == registered.AT_COST].set_index("task")
    assert found["program"].to_dict() == likeliest["program"].to_dict() and (found["cost"] == 256).all()
    assert not set(taken["arm"]) & {"sampled:oracle@cost", "oracle@cost"}


def test_registered_comparisons_against_plain_recomputation(study, taken):
    found = registered.planned(taken).set_index("comparison")
    assert found.index.tolist() == list(registered.REGISTERED)
    assert found.index[found["verdict"] == "not run"].tolist() == ["guided by steps - plan_prm"]
    gain = by_task(study, "guided", "guided") - by_task(study, "guided", "unguided")
    row = found.loc["guided by steps - unguided"]
    assert row["diff"] == pytest.approx(gain.mean()) and (row["tasks"], row["clusters"]) == (8, 4)
    clusters = gain.groupby(gain.index.map(TASKS)).mean().to_numpy()  # all of two tasks
    means = clusters[np.random.default_rng(9).integers(0, 4, (40_000, 4))].mean(axis=1)
    assert row[["low", "high"]].tolist() == pytest.approx(np.quantile(means, [0.025, 0.975]).tolist(), abs=0.02)
    first = study[(study["arm"] == "sampled_pool") & (study["sample"] == 0)].set_index("task")["validated"]
    guided = by_task(study, "guided", "guided")
    assert found.loc["guided by steps - first sampled program", "diff"] == pytest.approx((guided - first).mean())
    whole = by_task(study, "picks", "guided") - by_task(study, "guided", "unguided")
    assert found.loc["guided pick among whole thoughts - unguided", "diff"] == pytest.approx(whole.mean())
    known, least = found["p_value"].dropna().sort_values(), 0.0
    for i, (name, p) in enumerate(known.items()):
        least = max(least, min(1.0, p * (len(known) - i)))
        assert found.loc[name, "p_holm"] == pytest.approx(least)


def test_what_was_not_run_is_said_and_breaks_nothing(study):
    few = study[study["part"] == "thoughts"]
    compared = registered.planned(registered.methods(few))
    assert set(compared["verdict"]) == {"not run"} and "not known" in registered.success(compared)
    parts = registered.parts(few).set_index("part")
    assert parts.loc["guided", "programs"] == 0 and parts.loc["thoughts", "programs"] == 40 and parts.loc["thoughts", "same"] == 1
    assert len(registered.costs(few)) and registered.headroom(few).empty
    assert set(registered.planned(registered.methods(few.head(0)))["verdict"]) == {"not run"}
    changed = few[few["arm"] == "unguided"].assign(part="t2").reset_index(drop=True)
    changed.loc[0, "program"], changed.loc[1, "validated"] = "another", False
    assert registered.parts(pd.concat([few, changed])).set_index("part").loc["t2", ["same", "agree"]].tolist() == [7 / 8, 6 / 7]
    fewer = pd.concat([few[few["task"] != "k0.serial-omp"], changed])
    apart = registered.shares(registered.methods(fewer), "seen").set_index("arm").loc["t2"]
    assert apart.to_dict() == {"new": 1.0, "looked at before": 6 / 7}


@pytest.mark.parametrize(("gain", "said"), [(0.1, "reached. +10.0"), (0.05, "not reached. +5.0"), (None, "not known")])
def test_success_is_the_registered_one(gain, said):
    names = list(registered.REGISTERED)
    rows = pd.DataFrame({"comparison": names, "diff": 0.02, "low": 0.01, "high": 0.3, "verdict": "gain"})
    rows.loc[0, ["diff", "verdict"]] = [gain, "gain" if gain else "not run"]
    assert f": {said}" in registered.success(rows)
    if gain == 0.1:
        rows.loc[names.index("guided by steps - untrained_rule"), "diff"] = -0.01
        assert "not reached" in registered.success(rows) and "untrained_rule" in registered.success(rows)


def test_the_frontier_is_over_tasks_that_all_parts_of_t3_have(study):
    few = study[study["part"].isin(["guided", "thoughts", "picks", "t0"]) & (study["sample"] < 3)]
    costs = registered.costs(few[~((few["part"] == "guided") & (few["task"] == "k0.serial-omp"))]).set_index(["arm", "N"])
    assert set(costs["tasks"]) == {7}
    pool = study[(study["arm"] == "pool") & (study["task"] != "k0.serial-omp") & (study["sample"] < 2)]
    twin = naive_first_survivor(pool)
    row = costs.loc[("first_survivor", 2)]
    assert row[["rate", "looked_at"]].tolist() == pytest.approx(twin[["validated", "looked_at"]].mean().tolist())
    assert costs.loc[(registered.WHOLE, 1), "prm"] and not costs.loc[("t0", 1), "prm"]
    cut = study[(study["part"] == "sampled") & (study["task"] == "k0.serial-omp")]
    short = registered.costs(pd.concat([few, cut])).set_index(["arm", "N"])
    assert set(short["tasks"]) == {8} and not [arm for arm, _ in short.index if arm.startswith("sampled")]


def test_a_pool_of_one_program_is_a_sampled_program_and_no_choice(study, taken):
    one = registered.methods(study[(study["arm"] != "sampled_pool") | (study["sample"] == 0)])
    gone = set(taken["arm"]) - set(one["arm"])
    assert gone == {name for name in taken["arm"] if name.startswith("sampled:")} - {registered.AT_COST}
    first, cost = (one[one["arm"] == name].set_index("task")["program"] for name in ("sampled", registered.AT_COST))
    assert first.to_dict() == cost.to_dict()


def test_repair_rounds_are_methods_of_their_own(tmp_path, study, taken, real_methods):
    """Two rounds of a method: what the run's table says after each, whatever the choosers make of the pools."""
    rows = study[(study["part"] == "guided") & (study["arm"] == "guided") & (study["seed"] == 0)].assign(repair=0)
    later = [rows.assign(repair=r, validated=rows["task"].str[1].astype(int) < 3 * r, reason="ok") for r in (1, 2)]
    write_table(tmp_path, "results", rows)
    write_table(tmp_path, "rounds", pd.concat([rows, *later, rows.assign(repair=1, arm="sampled:best_of_n@cost")]))
    found = real_methods.translated(tmp_path)
    assert found["arm"].value_counts().to_dict() == {"guided": 8, "guided+repair1": 8, "guided+repair2": 8}
    whole = registered.methods(pd.concat([study, found[found["arm"].str.contains("repair")]]))
    rates = whole.groupby("arm")["validated"].mean()
    assert rates[["guided+repair1", "guided+repair2"]].tolist() == [3 / 8, 6 / 8]
    assert rates.drop(["guided+repair1", "guided+repair2"]).equals(taken.groupby("arm")["validated"].mean())
    assert ("guided+repair2", 1) in registered.costs(pd.concat([study, found[found["repair"] == 2]])).set_index(["arm", "N"]).index


def test_prompts_that_a_later_part_tells_count_once(real_methods, study):
    rows = study[study["part"] == "picks"].assign(prefill_tokens=0, cost=56.0)
    found = real_methods.with_prompts(rows, study)
    assert (found["prefill_tokens"] == 100).all() and (found["cost"] == 156).all()
    pd.testing.assert_frame_equal(real_methods.with_prompts(found, study), found, check_dtype=False)


def test_headroom_is_of_training_tasks_that_both_draws_have(study):
    train = study[study["arm"] == "pool"].assign(side="train", part=registered.NOISE)
    heat = study[study["arm"] == "sampled_pool"].assign(side="train", part=registered.HEAT, arm="pool")
    heat = heat[heat["task"] != "k7.serial-omp"]
    found = registered.headroom(pd.concat([train, heat])).set_index("comparison")
    both = train[train["task"] != "k7.serial-omp"]
    best, hot = (rows[rows["sample"] > 0].groupby("task")["validated"].max().mean() for rows in (both, heat))
    plain = both.loc[both["sample"] == 0, "validated"].mean()
    assert found["diff"].tolist() == pytest.approx([best - plain, hot - plain, best - hot]) and set(found["tasks"]) == {7}


def test_a_file_that_lacks_something_is_told_in_one_line(tmp_path, study):
    with pytest.raises(UserError, match="no such file; make it with"):
        registered.read(tmp_path)
    study.drop(columns="cost").to_csv(tmp_path / registered.FILE, index=False)
    with pytest.raises(UserError, match="no column 'cost'"):
        registered.read(tmp_path)


def test_the_thoughts_that_ship_tell_what_the_table_over_rollouts_tells(real_methods):
    import real_model

    from parallax_lib.core.config import load_file
    from parallax_lib.tasks.task import split_of

    programs = registered.read(ROOT / "data" / "qwen_rollouts")
    rows, _ = rollout_files.read_rollouts("data/qwen_rollouts")
    suite = load_file(ROOT / "params" / "qwen_picks.yaml").suite
    rows = rows[rows["family"].map({f: split_of(f, suite) for f in rows["family"].unique()}) == "test"].reset_index(drop=True)
    wanted = real_model.chosen(rows).replace({"arm": {"plan_rule": "untrained_rule"}}).groupby("arm")["validated"].mean().drop("random")
    made = registered.methods(programs[programs["part"] == "thoughts"]).groupby("arm")["validated"].mean()
    assert made.drop(["plan_prm", "program_prm"]).to_dict() == pytest.approx(wanted.to_dict())
    _, taken = real_model.picks(rows, pd.read_csv(ROOT / "data" / "qwen_rollouts" / "prm_scores.csv.gz"))
    read = taken.groupby("arm")["validated"].mean()
    assert made[["plan_prm", "program_prm"]].tolist() == pytest.approx(read[["plan", "program"]].tolist())


def test_parts_become_one_file_without_text_and_absent_ones_keep_their_rows(tmp_path, monkeypatch, capsys, real_methods):
    folder = tmp_path / "real_sampled"
    monkeypatch.setattr(stages, "run_folder", lambda run: folder)
    monkeypatch.setattr(runs, "run_folder", lambda run: folder)
    sections = {"translator": {"model": "random"}, "latent": {"steps": 1}, "decode": {"max_new_tokens": 3}}
    search = {"limit": 1, "samples": 1, "sampled": 2, "arms": ["unguided", "sampled"]}
    folder.mkdir()
    stages.translate_to(Params(run="some", suite={"split": "data/splits/handwritten.yaml"}, search=search, **sections), {})
    write_table(tmp_path / "real_t0", "translations", pd.DataFrame({"task": ["a"]}))
    source = "int main() { return 0; }"
    who = {"task": "bfs.serial-omp", "kernel": "bfs", "family": "cluster-bfs", "direction": "serial-omp"}
    rows = pd.DataFrame({"capture_id": ["a", "b"], "root": "r", **who, "source_code": source})
    rows = rows.assign( code=[source, None], branch_depth=[-1, 0], resample=0, plan="map", tokens=9, mean_logprob=-0.1,
                       level=[5, 0], reason=["ok", "no_code"], validated=[True, False], reward=[1.0, 0.0])  # fmt: skip
    for part in ("thoughts", registered.NOISE):
        rollout_files.write_rollouts(tmp_path / "real" / part, rows, np.zeros((2, 3, 4), "float16"), {})
    rollout_files.write_rollouts(tmp_path / "real" / "heat", rows.drop(columns=["validated", "reward"]), np.zeros((2, 3, 4), "float16"), {})
    out = tmp_path / "out"
    real_methods.make(tmp_path, out, "none")
    told = capsys.readouterr().out
    assert all(f"{part}: left out, its programs have no verdicts" in told for part in ("real_t0", "real/heat"))
    made = registered.read(out)
    assert made[made["part"] == "sampled"]["arm"].value_counts().to_dict() == {"sampled_pool": 2, "unguided": 1}
    thoughts = made[made["part"] == "thoughts"]
    assert thoughts["arm"].tolist() == ["unguided", "pool", "pool"] and thoughts["latent_steps"].tolist() == [3, 3, 3]
    assert thoughts["program"].tolist()[:2] == [hashlib.sha256(source.encode()).hexdigest()[:16]] * 2
    assert not (made["part"] == registered.NOISE).any()  # a test kernel is in no part of the training side
    assert set(made) <= set(registered.COLUMNS) and source not in made.to_csv()
    data = (out / registered.FILE).read_bytes()
    (folder / "results.parquet").unlink()
    (folder / "translations.parquet").unlink()
    real_methods.make(tmp_path, out, "none")
    assert registered.read(out).equals(made) and (out / registered.FILE).read_bytes() == data
    real_methods.show(out)
    assert "guided by steps - plan_prm not run" in " ".join(capsys.readouterr().out.split())
