"""The real code model's study (docs/REAL_MODEL.md): every judged program of every part as one small file, and its tables.

    python scripts/real_methods.py --make             # data/runs/real_* -> data/qwen_rollouts/methods.csv.gz, then the tables
    python scripts/real_methods.py                    # the tables of the file that ships

Knows where the study's parts lie.  Trains nothing and judges nothing; tables are `analysis.registered`'s.  The file holds verdicts and
counts, no program text.  A part that is not here keeps its rows of the file.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
from pathlib import Path

import pandas as pd
from real_model import fits
from real_study import SPLIT

from parallax_lib.analysis import registered
from parallax_lib.analysis.comparisons import FLOOR
from parallax_lib.analysis.readable import as_text
from parallax_lib.analysis.subgroups import with_suite
from parallax_lib.core.config import ROOT
from parallax_lib.core.storage import read_table, write_atomic
from parallax_lib.search import arms
from parallax_lib.search.rollout_files import read_rollouts
from parallax_lib.tasks import split_file
from parallax_lib.tasks.hecbench import masked

SHIPPED = ROOT / "data" / "qwen_rollouts"
TEXT_SCORES = SHIPPED / "prm_scores.csv.gz"  # of the shipped thoughts, by PRMs that read text
RUNS = ROOT / "data" / "runs"
PREFIX = "real_"  # of the folders that `translate` makes; collected parts lie in real/
ROLLOUTS = "rollouts.jsonl.gz"
UNJUDGED = "{}: left out, its programs have no verdicts; run its part without --write"
ONE = {"compiles": 0, "validator_runs": 0, "looked_at": 1}  # of a program that nobody chose


def collected(runs: Path) -> dict[str, Path]:
    """Folders of judged rollouts by part: thoughts of the test side, and of the training side; those that ship where none were made."""
    places = {name: (runs / "real" / name, SHIPPED) for name in (registered.THOUGHTS, registered.NOISE)}
    places[registered.HEAT] = (runs / "real" / registered.HEAT,)
    found = {name: [folder for folder in folders if (folder / ROLLOUTS).exists()] for name, folders in places.items()}
    return {name: folders[0] for name, folders in found.items() if folders}


def translated(folder: Path) -> pd.DataFrame:
    """All judged programs of a `translate` run: those of live methods, both pools, and where methods stood after each repair round."""
    results = read_table(folder, "results")
    pools = [read_table(folder, name) for name in ("pool", "sampled_pool") if (folder / f"{name}.parquet").exists()]
    found = [results[results["arm"].isin(arms.live())].assign(**ONE), *(pool.assign(**ONE) for pool in pools if len(pool))]
    return pd.concat([*found, *([repaired(read_table(folder, "rounds"))] if (folder / "rounds.parquet").exists() else [])])


def repaired(rounds: pd.DataFrame) -> pd.DataFrame:
    """Methods after repair rounds, under names such as `guided+repair1`."""
    later = rounds[(rounds["repair"] > 0) & ~rounds["arm"].str.contains(arms.AT_COST)]
    return later.assign(arm=later["arm"] + registered.REPAIR + later["repair"].astype(str))


def thought(rows: pd.DataFrame, steps: int, part: str, lengths: pd.Series) -> pd.DataFrame:
    """Collected rollouts as the programs of a pool, whose unperturbed ones are the unguided method's too.

    steps: latents of each.  lengths: tokens of each task's prompt, as parts that were translated tell; without any the cost leaves it out.
    """
    rows = rows.assign(suited=fits(rows)).sort_values(["task", "branch_depth", "resample"], kind="stable", ignore_index=True)
    side = "test" if part == registered.THOUGHTS else "train"
    rows = rows[rows["family"].map(lambda family: split_file.side_of(family, SPLIT)) == side]
    prompt = prompt_of(rows, lengths)
    rows = rows.assign(sample=rows.groupby("task").cumcount(), seed=0, prefill_tokens=prompt, latent_steps=steps, prm_calls=0, **ONE)
    rows = rows.assign(arm=arms.POOL, decode_tokens=rows["tokens"], cost=prompt + steps + rows["tokens"])
    return pd.concat([rows[rows["sample"] == 0].assign(arm=FLOOR), rows])


def prompt_of(rows: pd.DataFrame, lengths: pd.Series) -> pd.Series:
    return rows["task"].map(lengths).astype(float) if len(lengths) else pd.Series(0, index=rows.index)


def picked(folder: Path, lengths: pd.Series) -> pd.DataFrame:
    """What the run's reward models take among the thoughts, a draw for each training; their own work is not in the cost."""
    rows = read_table(folder, "cross_validation")
    rows = rows[rows["arm"].isin(["guided", "guided_filter"])]
    prompt = prompt_of(rows, lengths)
    cost = prompt + rows["latent_steps"] + rows["decode_tokens"]
    return rows.assign(sample=0, prefill_tokens=prompt, prm_calls=rows["latent_steps"], cost=cost)


def with_prompts(rows: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """The rows with the lengths of their prompts, where they were made before a part told them, and the cost that this adds."""
    lengths = known[known["prefill_tokens"] > 0].drop_duplicates("task").set_index("task")["prefill_tokens"]
    more = rows["task"].map(lengths).where(~(rows["prefill_tokens"] > 0)).fillna(0)
    return rows.assign(prefill_tokens=rows["prefill_tokens"].fillna(0) + more, cost=rows["cost"] + more)


def identity(code: object) -> str | None:
    """Sixteen digits of the SHA-256 of a program, also of one whose text does not ship."""
    return (masked.digest_of(code) or hashlib.sha256(code.encode()).hexdigest())[:16] if isinstance(code, str) else None


def judged(runs: Path, picks: str, old: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The programs of every part that is here, columns of `registered.COLUMNS`; a part without verdicts is told of.

    old: rows of the file as it is, which know lengths of prompts too.
    """
    found = {}
    for folder in sorted(runs.glob(f"{PREFIX}*")):
        if (folder / "results.parquet").exists():
            found[folder.name.removeprefix(PREFIX)] = translated(folder)
        elif (folder / "translations.parquet").exists():
            print(UNJUDGED.format(folder))
    known = pd.concat([*found.values(), old[old["prefill_tokens"] > 0]])
    lengths = known.drop_duplicates("task").set_index("task")["prefill_tokens"]
    for part, folder in collected(runs).items():
        rows, latents = read_rollouts(str(folder))
        if folder == SHIPPED and part == registered.THOUGHTS and TEXT_SCORES.exists():
            rows = rows.merge(pd.read_csv(TEXT_SCORES)[["capture_id", "score_plan", "score_program"]], on="capture_id", how="left")
        if "validated" in rows:
            found[part] = thought(rows, latents.shape[1], part, lengths)
        else:
            print(UNJUDGED.format(folder))
    if (runs / picks / "cross_validation.parquet").exists():
        found[registered.PICKS] = picked(runs / picks, lengths)
    return {part: told(rows, part) for part, rows in found.items()}


def told(rows: pd.DataFrame, part: str) -> pd.DataFrame:
    """The rows of kernels that the split names, with the columns that ship."""
    side = rows["family"].map({family: split_file.side_of(family, SPLIT) for family in rows["family"].unique()})
    rows = with_suite(rows.assign(part=part, side=side, program=rows["code"].map(identity)))
    return rows[rows["side"] != ""].reindex(columns=list(registered.COLUMNS))


def make(runs: Path, out: Path, picks: str) -> None:
    """Write the file; parts that are not here keep the rows that it has."""
    old = registered.read(out) if (out / registered.FILE).exists() else pd.DataFrame(columns=list(registered.COLUMNS))
    found = judged(runs, picks, old)
    found |= {part: rows for part, rows in old.groupby("part") if part not in found}
    if registered.PICKS in found:
        found[registered.PICKS] = with_prompts(found[registered.PICKS], pd.concat(found.values()))
    order = {part: i for i, part in enumerate(registered.PARTS)}
    rows = pd.concat([found[part] for part in sorted(found, key=lambda part: (order.get(part, len(order)), part))], ignore_index=True)
    text = rows.dropna(axis=1, how="all").to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_atomic(out / registered.FILE, gzip.compress(text.encode(), mtime=0))
    print(f"{len(rows)} programs of {rows['task'].nunique()} tasks: {out / registered.FILE}")


def show(folder: Path) -> None:
    """Parts, methods, registered comparisons, shares by direction, suite and look, and the training side's headroom."""
    programs = registered.read(folder)
    rows = registered.methods(programs)
    compared = registered.planned(rows)
    table = registered.table(rows)
    tables = [registered.parts(programs), table[list(registered.REACHED)], table[list(registered.PAID)], compared]
    tables += [registered.shares(rows, by) for by in ("direction", "suite", "seen")]
    for found in (*tables, registered.headroom(programs)):
        print(as_text(found) if len(found) else "headroom on the training side: not run", end="\n\n")
    print(registered.success(compared))


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("folder", nargs="?", type=Path, default=SHIPPED, help="where the file lies")
    ask.add_argument("--make", action="store_true", help="write it first")
    ask.add_argument("--runs", type=Path, default=RUNS, help="where the parts lie")
    ask.add_argument("--picks", default="qwen_picks", help="the run whose reward models choose among thoughts")
    args = ask.parse_args()
    if args.make:
        make(args.runs, args.folder, args.picks)
    show(args.folder)


if __name__ == "__main__":
    main()
