"""Small synthetic tables with the columns of a run; some programs are full of markup, script and hidden characters."""

import numpy as np
import pandas as pd

DIRECTIONS = ("serial-omp", "serial-cuda", "omp-cuda", "cuda-omp")
ARMS = ("unguided", "random", "guided", "oracle")
KERNELS = {"saxpy": "map", "dotprod": "reduction", "histo": "histogram"}
EVIL = "</pre></script><script>window.pwned=1</script><img src=x onerror=\"window.pwned=1\">\u202e\x1b[31m&lt;b&gt; 'q'"
SOURCE = """#include <cstdio>

void saxpy(int n, double c, const double *x, double *y) {
  for (int i = 0; i < n; i++) y[i] = c * x[i] + y[i];
}
"""
PARALLEL = SOURCE.replace("  for", "#pragma omp parallel for\n  for")
LEVELS = {"ok": 5, "race": 4, "wrong_output": 4, "crash": 2, "not_parallel": 2, "compile_error": 1, "not_checkable": 2}
REASONS = ("ok", "ok", "ok", "wrong_output", "compile_error", "race", "not_parallel", "crash", "not_checkable")


def verdicts(rng: np.random.Generator) -> dict:
    reason = str(rng.choice(REASONS))
    passed, unknown = reason == "ok", reason == "not_checkable"
    log = "" if passed else f"main.cpp:4:3: {reason} {EVIL}"
    return {"level": LEVELS[reason], "reason": reason, "parallel": "unknown", "log": log, "validated": passed,
            "reward": np.nan if unknown else float(passed), "sandbox": "bwrap", "toolchain": "g++ 12.2"}  # fmt: skip


def tasks():
    for kernel, family in KERNELS.items():
        for direction in DIRECTIONS:
            yield {"task": f"{kernel}.{direction}", "kernel": kernel, "family": family, "direction": direction}


def rollouts(per_task: int = 4) -> pd.DataFrame:
    """3 kernels x 4 directions x `per_task` rows; the first program of each task carries EVIL."""
    rng, rows = np.random.default_rng(0), []
    for task in tasks():
        for i in range(per_task):
            code = PARALLEL + (f"// {EVIL}" if i == 0 else "")
            facts = {"plan": "map <b>reduce</b>", "code": code, "source_code": SOURCE, "split": "test",
                     "capture_id": f"{task['task']}_{i}", "branch_depth": i - 1, "tokens": 300 + i,
                     "mean_logprob": -float(rng.random())}  # fmt: skip
            rows.append(task | facts | verdicts(rng))
    return pd.DataFrame(rows)


def scores(rows: pd.DataFrame, steps: int = 3, models: tuple[str, ...] = ("transformer", "ridge")) -> pd.DataFrame:
    rng, parts = np.random.default_rng(1), []
    for model in models:
        for depth in range(steps):
            parts.append(pd.DataFrame({"capture_id": rows["capture_id"], "depth": depth, "score": rng.random(len(rows)),
                                       "target": rows["reward"].fillna(0.0), "n": 1, "model": model,
                                       "direction": rows["direction"], "split": "test"}))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def results() -> pd.DataFrame:
    """3 kernels x 4 directions x 4 arms, one seed; guided rows have a score, and every program its own text."""
    rng, rows = np.random.default_rng(2), []
    for task in tasks():
        for arm in ARMS:
            code = f"{PARALLEL}// {arm}\n" + (EVIL if arm == "random" else "")
            score = float(rng.random()) if arm == "guided" else np.nan
            rows.append(task | {"arm": arm, "seed": 0, "sample": 0, "score": score, "mean_logprob": -0.1, "plan": "map",
                                "code": code, "source_code": SOURCE, "decode_tokens": 600} | verdicts(rng))  # fmt: skip
    return pd.DataFrame(rows)
