"""The study of the real code model in parts (docs/REAL_MODEL.md); each is one command of the library, and goes on where it was.

    python scripts/real_study.py --root ~/HeCBench                        # the parts, what is made, and the command of each
    python scripts/real_study.py --root ~/HeCBench --part all             # makes what is missing, in order
    python scripts/real_study.py --root ~/HeCBench --part guided --write  # writes programs and judges none, where GPU time counts
    python scripts/real_study.py --root ~/HeCBench --part ship            # rollouts of both sides as one folder, without HeCBench's text

All is written under data/runs/real*, and scripts/real_methods.py makes tables of it.  Until a T3 is made here, parts that need one take the
shipped adapter, of the first corpus.
Knows which commands the study is made of.  Computes nothing itself but `ship`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from real_model import accumulates

from parallax_lib.core.config import ROOT, load_file
from parallax_lib.core.storage import run_folder, write_json
from parallax_lib.search.rollout_files import read_rollouts, write_rollouts
from parallax_lib.study import pipeline
from parallax_lib.tasks import split_file

PARAMS = "params/qwen.yaml"
SPLIT = "data/splits/handwritten.yaml"
WORK = run_folder("real")
DONE = WORK / "parts.json"
CORPUS = (
    "--base qwen-coder-1.5b --samples 5400 --rank 16 --lr 4e-4 --tokens-per-step 16384 --max-tokens 8192 --label-noise 0 --right-share 1 "
    "--dressed 0.5 --wide 0.4 --styled 0.6 --read 1 --plan-lengths 6,6,6,6,6,6,4,8,12,0 --times 4 --compiled 1 --gpus 1"
)
FIRST = (  # of the shipped T3 (data/qwen_adapter/README.md)
    "--base qwen-coder-1.5b --samples 12000 --rank 16 --lr 4e-4 --tokens-per-step 16384 --max-tokens 4600 --label-noise 0 --right-share 1 "
    "--dressed 0.5 --wide 0.4 --styled 0.5 --read 1 --plan-lengths 6,6,6,6,6,6,4,8,12,0 --times 3 --minutes 4 --compiled 1 --gpus 1"
)
PEOPLE = "suite.kinds=[minibench,hecbench]"
LIVE = f"{PEOPLE} search.samples=1 search.sampled=0"
REPAIR = "search.repair=2 search.repair_limit=1000"  # of all tasks, in the first draw
SAMPLED = "unguided,redecode,sampled," + ",".join(
    f"sampled:{name}" for name in ("best_of_n", "compile_filter", "execution_filter", "first_survivor", "oracle")
)
CHOSEN = ("best_of_n", "compile_filter", "execution_filter", "first_survivor", "first_agreeing", "majority", "oracle")
FILTERED = ",".join(["unguided", "sampled", *(f"sampled:{name}" for name in CHOSEN)])
MASK = "// text of HeCBench, not shipped; sha256 "


@dataclass(frozen=True)
class Part:
    """what: told of it.  command: of the library.  sets: of the parameter file.  writes: whether it can leave its verdicts for later."""

    what: str
    command: str
    sets: str = ""
    writes: bool = False


def adapted(thinks: str, name: str, what: str) -> Part:
    return Part(f"{name}: {what}", f"adapt {CORPUS} --pairs {WORK}/others.jsonl --thinks {thinks} --out {WORK}/{name}")


def translated(run: str, what: str, sets: str) -> Part:
    return Part(what, f"translate {PARAMS}", f"run=real_{run} {sets}", True)


def collected(name: str, what: str, sets: str) -> Part:
    return Part(what, f"collect {PARAMS} --out {WORK}/{name}", f"run=real_{name} collect.sensitivity_limit=0 {sets}", True)


PARTS = {
    "pairs": Part("pairs of HeCBench kernels that the split does not name", f"pairs --params {PARAMS} --others --out {WORK}/others.jsonl"),
    "T3": adapted("plan", "T3", "plans in latents"),
    "rollouts": collected("rollouts", "thoughts and programs of the training side, T3", "suite.forge_count=40 suite.forge_wide=10"),
    "prm": Part(
        "the PRM on the latents of the training side",
        f"run {PARAMS} --only 01-02",
        f"run=real_prm collect.limit=0 collect.shipped={WORK}/rollouts collect.sensitivity_limit=0 prm.baselines=[]",
    ),
    "thoughts": collected(
        "thoughts",
        "eight whole thoughts of each test task, T3",
        f"{PEOPLE} collect.splits=[test] collect.depths=[0,0,0,0,0,0,0]",
    ),
    "guided": translated(
        "guided",
        "guided by steps, random and unguided, three draws, T3",
        f"{LIVE} search.arms=[unguided,random,guided] search.seeds=[0,1,2] {REPAIR} "
        f"prm.checkpoint={run_folder('real_prm')}/prm-transformer/final",
    ),
    "sampled": translated(
        "sampled",
        "eight programs sampled at 0.8, and decoded again at 0.7, T3",
        f"{PEOPLE} search.samples=1 search.sampled=8 search.arms=[{SAMPLED}] search.seeds=[0] {REPAIR}",
    ),
    "fifth": translated(
        "fifth",
        "T3 unguided beside four programs sampled at 0.8, of all test tasks",
        f"{PEOPLE} search.samples=1 search.sampled=4 search.arms=[{FILTERED}] search.seeds=[0]",
    ),
    "heat": collected(
        "heat",
        "three programs sampled at 0.8 of each training task of HeCBench: headroom, and what rejection sampling takes",
        "suite.kinds=[hecbench] collect.splits=[train] collect.depths=[0,0] latent.sigma=0 decode.temperature=0.8",
    ),
    "T0": translated(
        "t0",
        "the model as it is, asked with rules",
        f"{LIVE} search.arms=[unguided] search.seeds=[0] translator.adapter='' latent.steps=0 translator.prompt=rules decode.opening=free",
    ),
    "T1": translated(
        "t1",
        "T0 with latents, no training",
        f"{LIVE} search.arms=[unguided] search.seeds=[0] translator.adapter='' translator.prompt=rules decode.opening=free",
    ),
    "K12": translated("k12", "T3 with twelve latents", f"{LIVE} search.arms=[unguided] search.seeds=[0] latent.steps=12"),
    "T5": translated("t5", "T3's plan written as tokens", f"{LIVE} search.arms=[unguided] search.seeds=[0] latent.align=token"),
    "people": Part(
        "people's own programs of the training side",
        f"pairs --params {PARAMS} --set suite.kinds=[hecbench] --out {WORK}/people.jsonl",
    ),
    "own": Part(
        "T3's own validated programs of HeCBench's training tasks",
        f"pairs --params {PARAMS} --set suite.kinds=[hecbench] --rollouts {WORK}/heat --out {WORK}/own.jsonl",
    ),
    "RS": Part(
        "RS: the shipped T3's training with both",
        f"adapt {FIRST} --pairs {WORK}/people.jsonl,{WORK}/own.jsonl --thinks plan --out {WORK}/RS",
    ),
    "RS-test": translated("rs", "RS on test tasks", f"{LIVE} search.arms=[unguided] search.seeds=[0] translator.adapter={WORK}/RS"),
    "T2": adapted("none", "T2", "no latents"),
    "T2-test": translated(
        "t2", "T2 on test tasks", f"{LIVE} search.arms=[unguided] search.seeds=[0] translator.adapter={WORK}/T2 latent.steps=0"
    ),
    "T4": adapted("pause", "T4", "pauses instead of plans"),
    "T4-test": translated(
        "t4", "T4 on test tasks", f"{LIVE} search.arms=[unguided] search.seeds=[0] translator.adapter={WORK}/T4 latent.align=pause"
    ),
}


def command(name: str, root: str, write: bool, more: list[str]) -> list[str]:
    """The part's command as a list of words."""
    part = PARTS[name]
    words = [sys.executable, "-m", "parallax_lib", *shlex.split(part.command)]
    if part.command.startswith("adapt"):
        return words
    trained = WORK / "T3" if (WORK / "T3").exists() else ROOT / "data" / "qwen_adapter"
    adapter = [] if "translator.adapter" in part.sets or name == "pairs" else [f"translator.adapter={trained}"]
    sets = [f"suite.root={root}", *adapter, *part.sets.split(), *more]
    return [*words, *(["--skip-validation"] if write and part.writes else []), *(word for each in sets for word in ("--set", each))]


def listed(root: str, more: list[str]) -> None:
    """Each part, whether it is made, and its command."""
    for name, part in PARTS.items():
        state, words = "made" if name in done() else "", command(name, root, False, more)
        print(f"{state:4} {name:9} {part.what}\n{'':15}python {shlex.join(words[1:])}")


def done() -> dict[str, str]:
    return json.loads(DONE.read_text()) if DONE.exists() else {}


def make(name: str, root: str, write: bool, more: list[str]) -> None:
    """Run the part's command here; it is noted as made unless its verdicts are left for later."""
    words = command(name, root, write, more)
    print(f"[{name}] {PARTS[name].what}\n  {shlex.join(words[1:])}", flush=True)
    WORK.mkdir(parents=True, exist_ok=True)
    if status := subprocess.run(words, cwd=ROOT).returncode:
        raise SystemExit(status)
    if not (write and PARTS[name].writes):
        write_json(DONE, done() | {name: shlex.join(words[1:])})


def ship(out: Path, folders: list[Path]) -> None:
    """The folders' judged rollouts as one that may ship: HeCBench's text is a hash, and what the untrained rule reads of it a column."""
    parts = [read_rollouts(str(folder)) for folder in folders]
    rows, latents = pd.concat([rows for rows, _ in parts], ignore_index=True), np.concatenate([found for _, found in parts])
    rows["accumulates"] = rows["source_code"].map({text: accumulates(text) for text in rows["source_code"].unique()})
    names = {name for suite, name in split_file.rows(SPLIT) if suite == "hecbench"}
    bundled = {name for suite, name in split_file.rows(SPLIT) if suite == "minibench"}
    theirs = rows["kernel"].map(lambda name: name not in bundled and name.removesuffix("-hecbench") in names)
    for column in ("source_code", "code"):
        rows.loc[theirs, column] = [masked(text) for text in rows.loc[theirs, column]]
    rows["log"] = rows["log"].fillna("").str[:300].mask(theirs, "")
    kept = pipeline.manifest(load_file(ROOT / PARAMS))
    write_rollouts(out, rows, latents, {name: kept[name] for name in ("params", "library")})
    print(f"{len(rows)} rollouts of {rows['task'].nunique()} tasks, {theirs.sum()} of them without text: {out}")


def masked(text) -> str | None:
    return MASK + hashlib.sha256(text.encode()).hexdigest() if isinstance(text, str) else None


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--root", required=True, help="a HeCBench checkout")
    ask.add_argument("--part", default="", help="a part, several with commas, all, or ship; none: list them")
    ask.add_argument("--write", action="store_true", help="programs only; the part without it judges them")
    ask.add_argument("--set", action="append", default=[], metavar="section.key=value", help="laid on top of every part's settings")
    ask.add_argument("--out", type=Path, default=WORK / "shipped", help="where ship writes")
    args = ask.parse_args()
    root = str(Path(args.root).expanduser().resolve())
    if args.part == "ship":
        return ship(args.out, [WORK / "rollouts", WORK / "thoughts"])
    if not args.part:
        return listed(root, args.set)
    asked = [name for name in PARTS if name not in done()] if args.part == "all" else args.part.split(",")
    if unknown := [name for name in asked if name not in PARTS]:
        ask.error(f"--part: {unknown[0]!r} is not one of {', '.join(PARTS)}, all, ship")
    for name in asked:
        make(name, root, args.write, args.set)
    return None


if __name__ == "__main__":
    main()
