"""Arms that choose from a pool, and repair rounds: what they are told and what they have spent, against hand-worked cases."""

import numpy as np
import pandas as pd
import pytest

from parallax_lib.core.config import load
from parallax_lib.core.errors import UserError
from parallax_lib.search import arms

SPENT = {"prefill_tokens": 100, "latent_steps": 3, "prm_calls": 0, "decode_tokens": 10, "cost": 113.0}


def row(arm="pool", sample=0, level=5, reason="ok", **more):
    facts = {
        "task": "a",
        "seed": 0,
        "arm": arm,
        "sample": sample,
        "mean_logprob": -0.1,
        "score": np.nan,
        "level": level,
        "reason": reason,
        "attempt": 0,
    }
    return facts | {"validated": level == 5, "code": "int main() {}", "log": ""} | SPENT | more


def pool():
    levels = [(-0.1, 1, "compile_error"), (-0.2, 4, "wrong_output"), (-0.3, 5, "ok")]
    rows = [row(sample=i, level=v, reason=r, mean_logprob=p, decode_tokens=10 + i, cost=113.0 + i) for i, (p, v, r) in enumerate(levels)]
    return pd.DataFrame([*rows, rows[0] | {"arm": "unguided"}])


def test_pool_arms_choose_and_pay_for_everything_they_looked_at():
    table = arms.derive(pool(), ["unguided", "best_of_n", "compile_filter", "oracle"]).set_index("arm")
    assert table["sample"].to_dict() == {"unguided": 0, "best_of_n": 0, "compile_filter": 1, "oracle": 2}
    assert table.loc["best_of_n", "decode_tokens"] == table.loc["oracle", "decode_tokens"] == 33
    assert table["compiles"].to_dict() == {"unguided": 0, "best_of_n": 0, "compile_filter": 3, "oracle": 3}
    assert table["validator_runs"].to_dict() == {"unguided": 0, "best_of_n": 0, "compile_filter": 0, "oracle": 2}
    assert table.loc["unguided", "decode_tokens"] == 10


FATES = [  # level, reason, whether something but the reference speaks against the program
    (1, "compile_error", True), (2, "crash", True), (2, "timeout", True), (2, "not_parallel", True), (3, "cuda_error", True),
    (3, "no_kernel_launch", True), (3, "nondeterministic", True), (4, "nondeterministic", True),
    (2, "not_checkable", True), (2, "infra_error", True),
    (3, "wrong_output", False), (4, "wrong_output", False), (4, "not_parallel", False), (5, "ok", False),
]  # fmt: skip


@pytest.mark.parametrize("fate", FATES)
def test_the_execution_filter_leaves_out_what_a_programs_own_runs_show_and_nothing_else(fate):
    level, reason, shown = fate
    other = row(sample=1, level=4, reason="wrong_output", mean_logprob=-9.0)
    frame = pd.DataFrame([row(sample=0, level=level, reason=reason, mean_logprob=-0.1), other])
    table = arms.derive(frame, ["best_of_n", "execution_filter"]).set_index("arm")
    assert table["sample"].to_dict() == {"best_of_n": 0, "execution_filter": int(shown)}
    assert table.loc["execution_filter", "compiles"] == 2 and table.loc["execution_filter", "validator_runs"] == 1 + (level >= 2)


def test_choosers_among_the_first_n_are_those_of_a_pool_of_n():
    rng = np.random.default_rng(0)
    fates = [FATES[i] for i in rng.integers(0, len(FATES), 40)]
    rows = [
        row(task=f"t{i // 4}", sample=i % 4, level=level, reason=reason, mean_logprob=-float(p), cost=113.0 + i)
        for i, ((level, reason, _), p) in enumerate(zip(fates, rng.integers(0, 3, 40), strict=True))
    ]
    pool_rows = pd.DataFrame(rows)
    counted = arms.counted(pool_rows, pool_rows[:0], least=2)
    assert sorted(counted["N"].unique()) == [2, 3, 4]
    assert set(counted["arm"]) == {"best_of_n", "compile_filter", "execution_filter", "first_survivor", "oracle"}
    for n, part in counted.groupby("N"):
        alone = arms.derive(pool_rows[pool_rows["sample"] < n], arms.of_pool())
        columns = ["sample", "cost", "looked_at", "compiles", "validator_runs"]
        a, b = (frame.set_index(["arm", "task"])[columns].sort_index() for frame in (part, alone))
        pd.testing.assert_frame_equal(a, b)
        whole = part[part["arm"] != "first_survivor"].groupby("arm")["cost"].mean()
        assert whole.tolist() == pytest.approx([arms.pool_cost(pool_rows[pool_rows["sample"] < n])] * len(whole))


@pytest.mark.parametrize(("budget", "looked_at"), [(50.0, 1), (126.9, 1), (127.0, 2), (141.0, 2), (142.0, 3), (900.0, 3)])
def test_arms_at_equal_cost_look_at_what_the_guided_arm_could_pay_for(budget, looked_at):
    """Programs of 113, 114 and 115, a prompt of 100 of which is read once: 113, 127, 142."""
    frame = pd.concat([pool(), pd.DataFrame([row("guided", cost=budget - 10), row("guided", task="b", cost=budget + 10)])])
    table = arms.derive(frame, ["guided", "best_of_n", "compile_filter", "oracle"]).set_index("arm")
    assert table.loc["oracle@cost", "looked_at"] == looked_at and table.loc["oracle", "looked_at"] == 3
    assert table.loc["oracle@cost", "cost"] == [113, 127, 142][looked_at - 1] and table.loc["oracle", "cost"] == 142
    assert table.loc["oracle@cost", "validated"] == (looked_at == 3)
    assert table.loc["compile_filter@cost", "sample"] == min(1, looked_at - 1)
    assert table.loc["compile_filter@cost", "compiles"] == looked_at and table.loc["oracle@cost", "validator_runs"] == looked_at - 1


def test_without_a_guided_arm_there_is_no_equal_cost():
    assert set(arms.derive(pool(), ["unguided", "oracle"])["arm"]) == {"unguided", "oracle"}


def counted(pool, arm, n):
    table = arms.counted(pool, pool[:0], least=n)
    return table.loc[table["arm"] == arm, "sample"].tolist()


def naive_guided_filter(pool, guided, n):
    """(sample, decode tokens, cost, programs written) by having one program written after another."""
    order, tokens = sorted(pool, key=lambda r: (-r["score"], r["sample"]))[:n], 0
    thinking = guided["prefill_tokens"] + guided["latent_steps"] + guided["prm_calls"] * 0.5
    for i, r in enumerate(order, 1):
        tokens += r["decode_tokens"]
        if r["level"] >= 3 and r["reason"] not in ("nondeterministic", "no_kernel_launch", "cuda_error"):
            return r["sample"], tokens, thinking + tokens, i
    return order[0]["sample"], tokens, thinking + tokens, len(order)


@pytest.mark.parametrize("seed", range(6))
def test_the_guided_filter_writes_the_best_scored_first_stops_at_a_survivor_and_pays_for_all_thinking_once(seed):
    rng = np.random.default_rng(seed)
    rows, guided = [], {}
    for task in "ab":
        for i, at in enumerate(rng.integers(0, len(FATES), 5)):
            level, reason, _ = FATES[at]
            tokens = int(rng.integers(5, 50))
            rows.append(row(task=task, sample=i, level=level, reason=reason, score=float(rng.integers(0, 4)), decode_tokens=tokens,
                            cost=103.0 + tokens, mean_logprob=-float(rng.random())))  # fmt: skip
        guided[task] = row("guided", task=task, latent_steps=15, prm_calls=30, decode_tokens=9, cost=100 + 15 + 30 * 0.5 + 9.0, score=3.0)
    frame = pd.DataFrame([*rows, *guided.values()])
    table = arms.derive(frame, ["guided", "guided_filter", "execution_filter"])
    assert table["arm"].tolist() == ["guided"] * 2 + ["execution_filter"] * 2 + ["guided_filter"] * 2 + ["execution_filter@cost"] * 2
    all_of_them = table[table["arm"] == "guided_filter"].set_index("task")
    counted = arms.counted(frame[frame["arm"] == "pool"], frame).query("arm == 'guided_filter'").set_index(["N", "task"])
    for n in range(1, 6):
        for task in "ab":
            wanted = naive_guided_filter([r for r in rows if r["task"] == task], guided[task], n)
            taken = counted.loc[(n, task)]
            assert (taken["sample"], taken["decode_tokens"], taken["cost"], taken["looked_at"]) == pytest.approx(wanted)
            assert (taken["latent_steps"], taken["prm_calls"]) == (15, 30)
    for task in "ab":
        columns = ["sample", "cost", "looked_at"]
        assert all_of_them.loc[task, columns].tolist() == counted.loc[(5, task), columns].tolist()


def test_without_scores_of_the_pools_thoughts_there_is_no_guided_filter():
    frame = pd.concat([pool().assign(score=np.nan), pd.DataFrame([row("guided", score=0.5)])])
    assert set(arms.derive(frame, ["guided", "guided_filter", "oracle"])["arm"]) == {"guided", "oracle", "oracle@cost"}


def test_an_oracle_without_a_passing_program_fails():
    frame = pool()
    frame["validated"] = False
    assert not arms.derive(frame, ["oracle"])["validated"].any()


@pytest.mark.parametrize("reason", ["not_checkable", "infra_error"])
@pytest.mark.parametrize(("levels", "taken"), [((4, 2, 4), 1), ((4, 2, 5), 2), ((4, 4, 4), 0), ((2, 4, 2), 0)])
def test_a_pool_with_an_unjudged_program_and_no_validated_one_has_an_unjudged_oracle(reason, levels, taken):
    said = {5: "ok", 4: "wrong_output", 2: reason}
    frame = pd.DataFrame([row(sample=i, level=v, reason=said[v], mean_logprob=-i / 10) for i, v in enumerate(levels)])
    assert arms.derive(frame, ["oracle"])["sample"].tolist() == [taken]
    assert counted(frame, "oracle", 3) == [taken]


@pytest.mark.parametrize("level, taken", [(2, 1), (3, 1), (4, 1), (1, 0)])
def test_the_compile_filter_takes_the_likeliest_that_compiles_and_asks_no_more(level, taken):
    levels = (1, level, 4 if level > 1 else 1)
    frame = pd.DataFrame([row(sample=i, level=v, reason="x", mean_logprob=-i / 10) for i, v in enumerate(levels)])
    assert arms.derive(frame, ["compile_filter"])["sample"].tolist() == [taken]
    assert counted(frame, "compile_filter", 3) == [taken]


@pytest.mark.parametrize("reason", ["wrong_output", "nondeterministic", "not_parallel", "cheat_suspected"])
def test_a_log_that_may_hold_the_reference_is_not_told(reason):
    assert "3.14159" not in arms.feedback(reason, "input 1: expected 3.14159, got 2.7")


def test_compiler_and_run_logs_are_told():
    assert "main.cpp:3: error" in arms.feedback("compile_error", "main.cpp:3: error: 'x' was not declared")
    assert "signal 11" in arms.feedback("crash", "signal 11")


def test_rounds_by_hand():
    """b fails to compile, then runs wrong, then passes; c passes at once; d cannot be judged; e's oracle has looked already."""
    before = pd.DataFrame(
        [
            row("unguided", task="b", level=1, reason="compile_error"),
            row("unguided", task="c"),
            row("unguided", task="d", level=2, reason="not_checkable"),
            row("oracle", task="e", level=3, reason="wrong_output", compiles=4, validator_runs=4),
        ]
    ).fillna({"compiles": 0, "validator_runs": 0})
    before = before.assign(repair=0, looked_at=[1, 1, 1, 4])
    assert arms.failing(before).tolist() == [True, False, False, True]
    first = before.iloc[[3, 0]].assign(level=[4, 4], reason="wrong_output", attempt=1, **SPENT)
    one = arms.next_round(before, first.drop(columns=["compiles", "validator_runs", "looked_at"]), 1)
    assert one["looked_at"].tolist() == [2, 1, 1, 5]
    assert one["compiles"].tolist() == [1, 1, 0, 4] and one["validator_runs"].tolist() == [0, 1, 0, 4]
    assert one["decode_tokens"].tolist() == [20, 10, 10, 20] and one["prefill_tokens"].tolist() == [200, 100, 100, 200]
    second = one.iloc[[0, 3]].assign(level=[5, 5], reason="ok", validated=True, attempt=2, **SPENT)
    two = arms.next_round(one, second, 2)
    assert two["compiles"].tolist() == [2, 1, 0, 5] and two["validator_runs"].tolist() == [1, 1, 0, 5]
    assert two["validated"].tolist() == [True, True, False, True] and two["repair"].tolist() == [2] * 4
    three = arms.next_round(two, two.iloc[:0], 3)
    assert three["compiles"].tolist() == [3, 1, 0, 6] and three["decode_tokens"].tolist() == two["decode_tokens"].tolist()
    assert np.array_equal(three["validator_runs"], [2, 1, 0, 6])


def test_prms_that_read_text_choose_and_pay_for_their_reading():
    frame = pool().assign(score_plan=[0.2, 0.3, 0.1, 0.2], score_program=[np.nan, 0.2, 0.9, np.nan], cost_plan=4.0, cost_program=6.0)
    table = arms.derive(frame, ["plan_prm", "program_prm"]).set_index("arm")
    assert table["sample"].to_dict() == {"plan_prm": 1, "program_prm": 2}
    assert table["looked_at"].to_dict() == {"plan_prm": 1, "program_prm": 3} and not table[["compiles", "validator_runs"]].any(axis=None)
    assert table["cost"].to_dict() == {"plan_prm": 100 + 3 * (3 + 4) + 11, "program_prm": 100 + 3 * (3 + 6) + 10 + 11 + 12}
    assert arms.derive(pool(), ["plan_prm", "program_prm"]).empty
def two_pools():
    """A latent pool of two wrong programs, and a sampled one of three: wrong, right, right; its latents are paid for once."""
    wrong = {"level": 4, "reason": "wrong_output"}
    latent = [row(sample=i, **wrong) for i in range(2)]
    sampled = [row("sampled_pool", i, mean_logprob=-i, cost=113.0 - 3 * (i > 0), latent_steps=3 * (i == 0), **(wrong if i == 0 else {}))
               for i in range(3)]  # fmt: skip
    return pd.DataFrame([*latent, *sampled, row("guided", cost=131.0, **wrong), row("unguided", **wrong)])


def test_each_pool_has_its_own_choosers_and_costs():
    asked = ["unguided", "oracle", "sampled", "sampled:best_of_n", "sampled:first_survivor", "sampled:oracle"]
    table = arms.derive(two_pools(), asked).set_index("arm")
    assert set(table.index) == {*asked, "oracle@cost", *(f"{name}@cost" for name in asked[3:])}
    assert table["validated"].to_dict() == {name: name == "sampled:oracle" for name in table.index} | {"sampled:oracle@cost": True}
    assert table.loc["sampled", ["cost", "looked_at", "decode_tokens"]].tolist() == [113, 1, 10]
    assert table.loc["sampled:oracle", ["cost", "looked_at", "decode_tokens", "latent_steps"]].tolist() == [133, 3, 30, 3]
    assert table.loc["sampled:oracle@cost", ["cost", "looked_at"]].tolist() == [123, 2]  # guided's mean cost is 131
    assert table.loc["oracle", ["cost", "looked_at"]].tolist() == [126, 2]
    counted = arms.counted(two_pools().query("arm == 'sampled_pool'"), two_pools().query("arm == 'guided'"))
    assert set(counted["arm"]) == {f"sampled:{n}" for n in ("best_of_n", "compile_filter", "execution_filter", "first_survivor", "oracle")}
    assert counted.query("arm == 'sampled:oracle'").set_index("N")["validated"].to_dict() == {1: False, 2: True, 3: True}


def test_without_a_sampled_pool_nothing_of_it_is_derived():
    every = arms.derive(two_pools().query("arm != 'sampled_pool'"))
    assert not [name for name in every["arm"].unique() if arms.pool_of(name) == arms.SAMPLED]


@pytest.mark.parametrize(("asked", "needed"), [
    ({"arms": ["sampled:majority"]}, "sampled:majority needs search.sampled"),
    ({"arms": ["first_agreeing"]}, "first_agreeing needs validation.agree: true"),
    ({"arms": ["sampled:first_agreeing"], "sampled": 2}, "sampled:first_agreeing needs validation.agree: true"),
])  # fmt: skip
def test_an_arm_without_what_it_needs_is_refused(asked, needed):
    with pytest.raises(UserError, match=needed):
        arms.check(load("tiny", search=asked))
