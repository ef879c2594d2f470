"""The split of hand-written kernels by algorithm: remakes data/splits/handwritten.yaml, and judges which directions are right.

    python scripts/kernel_clusters.py --root ~/HeCBench                       # clusters, classes, sides, folds: half a minute
    python scripts/kernel_clusters.py --root ~/HeCBench --check --minutes 30  # judges own programs too; goes on where it was

Kernels are the bundled ones and all of the checkout that `parallax_lib hecbench` offers.  `twins` (kernels of one algorithm) and `classes`
(dependence classes that the parser gets wrong) are written by hand in the file and kept.  `right` are the directions in which a kernel's
own program is judged right as a translation; it is kept while the kernel's programs and arguments are the same.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import yaml

from parallax_lib.core.config import ROOT
from parallax_lib.core.settings import DIRECTIONS, Suite
from parallax_lib.core.storage import Journal, digest, run_folder, write_atomic
from parallax_lib.core.yaml_files import read_yaml
from parallax_lib.sandbox import sandbox
from parallax_lib.tasks import clusters, split_file, suites
from parallax_lib.tasks.dependence import dependence_class
from parallax_lib.tasks.hecbench import checkout
from parallax_lib.tasks.task import Kernel, Task, put_together
from parallax_lib.verdict import toolchain
from parallax_lib.verdict.assurance.hecbench_check import LIMITS
from parallax_lib.verdict.reference import Bench
from parallax_lib.verdict.validate import judge

FOLDS = 5
RULE = [
    "cluster: kernels whose programs share more than 0.3 of their shingles (parallax_lib.tasks.clusters), and twins",
    "class: dependence class by parallax_lib.tasks.dependence, or by hand below",
    "side: test if the cluster holds a bundled kernel, else by the parity of sha256 of its name: even is test, odd is train",
    "fold: sha256 of 'fold:' and the cluster's name, modulo 5",
    "right: directions whose own program is judged right as a translation; bundled kernels: all until checked; without it: not checked",
]


def name_of(kernel: Kernel) -> str:
    return f"{kernel.suite}/{kernel.name}"


def load(root: Path) -> list[Kernel]:
    return suites.load_suite(Suite()) + checkout.kernels(root)


def number(text: str) -> int:
    return int(sha256(text.encode()).hexdigest(), 16)


def cluster_name(members: list[str]) -> str:
    """Of the first bundled kernel, else of the first one.  No family of forge programs has such a name."""
    first = min(members, key=lambda member: (not member.startswith("minibench/"), member))
    return f"cluster-{first.split('/', 1)[1]}"


def side(cluster: str, members: list[str]) -> str:
    bundled = any(member.startswith("minibench/") for member in members)
    return "test" if bundled or number(cluster) % 2 == 0 else "train"


def programs_digest(kernel: Kernel) -> str:
    """Of all that `right` rests on: programs, what is given beside them, arguments, inputs, flags."""
    inputs = {name: digest(data.hex()) for name, data in kernel.inputs.items()}
    given = {api: asdict(each) for api, each in kernel.given.items()}
    return digest([kernel.sources, given, kernel.hidden_args, kernel.public_args, inputs, kernel.flags])[:12]


def stated(kernels: list[Kernel], before: dict) -> dict[str, dict]:
    """kernel -> what the file says of it."""
    by_hand = {name: kind for kind, names in before.get("classes", {}).items() for name in names}
    by_name = {name_of(kernel): kernel for kernel in kernels}
    programs = {name: tuple(put_together(kernel).sources.values()) for name, kernel in by_name.items()}
    facts = {}
    for members in clusters.clusters(programs, [group["kernels"] for group in before.get("twins", ())]):
        cluster = cluster_name(members)
        if other := next((name for name, row in facts.items() if row["cluster"] == cluster), ""):
            raise SystemExit(f"{cluster}: the name of two clusters, with {other} and {members[0]}; write them into twins, or rename one")
        for name in members:
            kind = by_hand.get(name) or dependence_class(put_together(by_name[name]).sources.get("cuda", ""))
            row = {"cluster": cluster, "class": kind, "side": side(cluster, members), "fold": number(f"fold:{cluster}") % FOLDS}
            facts[name] = row | {"programs": programs_digest(by_name[name])}
            known = before.get("kernels", {}).get(name, {})
            if "right" in known and known.get("programs") == facts[name]["programs"]:
                facts[name]["right"] = known["right"]
            elif name.startswith("minibench/"):  # tests/test_minibench.py compares their outputs
                facts[name]["right"] = list(DIRECTIONS)
    return facts


def text_of(before: dict, facts: dict[str, dict]) -> str:
    """The file: a line a kernel, what is written by hand as it was."""

    def flow(value) -> str:
        return yaml.safe_dump(value, default_flow_style=True, width=math.inf, sort_keys=False).strip()

    lines = ["# Made by scripts/kernel_clusters.py; twins and classes are written by hand.  Facts only, no program text.", "rule:"]
    lines += [f"- {json.dumps(line)}" for line in RULE]
    lines += ["twins:", *(f"- {flow(group)}" for group in before.get("twins", ()))]
    lines += ["classes:", *(f"  {kind}: {flow(sorted(names))}" for kind, names in sorted(before.get("classes", {}).items()))]
    return "\n".join([*lines, "kernels:", *(f"  {name}: {flow(row)}" for name, row in sorted(facts.items()))]) + "\n"


def in_turn(kernels: list[Kernel]) -> list[Kernel]:
    """The cheapest by the manifest first, bundled kernels last."""
    cost = {name: row.get("cpu_s", math.inf) for name, row in checkout.read_manifest(checkout.MANIFEST).items()}

    def turn(kernel: Kernel) -> tuple:
        return kernel.suite == "minibench", cost.get(kernel.name, math.inf), kernel.name

    return sorted(kernels, key=turn)


def check(kernels: list[Kernel], facts: dict[str, dict], journal: Path, minutes: float) -> Iterator[str]:
    """Judges each kernel's own programs and puts `right` into its facts; a line a kernel.  No kernel is started after `minutes`."""
    bench, start = Bench(toolchain.detect(), sandbox.probe(), LIMITS, Journal(journal)), time.monotonic()
    chosen = in_turn(kernels)
    for done, kernel in enumerate(chosen, 1):
        if minutes and time.monotonic() - start > 60 * minutes:
            yield f"stopped after {minutes:g} minutes, {len(chosen) - done + 1} kernels to go; the same command goes on"
            return
        reasons = {}
        for direction in DIRECTIONS:
            source, target = direction.split("-")
            if {source, target} <= {*kernel.sources} and source not in kernel.unshown:
                task = Task(kernel, source, target)
                reasons[direction] = judge(kernel.sources[target], task, bench.toolchains, bench.level, bench.limits, bench.journal).reason
        facts[name_of(kernel)]["right"] = [direction for direction, reason in reasons.items() if reason == "ok"]
        yield f"[{done}/{len(chosen)}] {kernel.name:22} " + " ".join(f"{way} {reason}" for way, reason in reasons.items())


def counts(facts: dict[str, dict]) -> str:
    """Kernels, clusters, tasks by direction and classes of each side."""
    lines = []
    for which in split_file.SIDES:
        rows = [row for row in facts.values() if row["side"] == which]
        ways = Counter(way for row in rows for way in row.get("right", ()))
        offered = {row["cluster"] for row in rows if row.get("right")}
        kinds = Counter(row["class"] for row in rows)
        lines += [f"{which}: {len(rows)} kernels in {len({row['cluster'] for row in rows})} clusters"]
        by_way = ", ".join(f"{way} {ways[way]}" for way in DIRECTIONS)
        lines += [f"  {sum(ways.values())} right tasks in {len(offered)} clusters: {by_way}"]
        lines += ["  " + ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())]
    return "\n".join([*lines, f"{sum('right' not in row for row in facts.values())} kernels not checked"])


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--root", type=Path, required=True, help="a HeCBench checkout")
    ask.add_argument("--out", type=Path, default=ROOT / "data" / "splits" / "handwritten.yaml")
    ask.add_argument("--check", action="store_true", help="judge each kernel's own programs as translations")
    ask.add_argument("--names", default="", metavar="a,b", help="check these kernels only")
    ask.add_argument("--minutes", type=float, default=0, help="start no kernel after so many; 0: all")
    ask.add_argument("--journal", type=Path, default=None, help="file that keeps verdicts; default data/runs/handwritten/")
    args = ask.parse_args()
    before = read_yaml(args.out)[0] if args.out.exists() else {}
    kernels, only = load(args.root), set(filter(None, args.names.split(",")))
    facts = stated(kernels, before)
    asked = [kernel for kernel in kernels if not only or kernel.name in only]
    write_atomic(args.out, text_of(before, facts).encode())
    for line in check(asked, facts, args.journal or run_folder("handwritten") / "journal.db", args.minutes) if args.check else ():
        print(line, flush=True)
        write_atomic(args.out, text_of(before, facts).encode())
    print(counts(facts))


if __name__ == "__main__":
    main()
