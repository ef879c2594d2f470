"""What a check of a HeCBench checkout found: a line a kernel, counts by direction, and the gate.

Knows the rows of `hecbench_check.check`.  Knows nothing of checkouts, programs or how they were judged.

A kernel holds when its own programs pass as translations of each other both ways and every mutant of its parallel work
that is a fault on these arguments was rejected, at least one of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pandas as pd

APART = ("same code", "same data", "not reached", "race operator")
PAIRS = {"serial <-> omp": ("serial-omp", "omp-serial"), "omp <-> cuda": ("omp-cuda", "cuda-omp")}
WORDS = {True: "values", False: "a verdict word only"}


def line(rows: list[dict]) -> str:
    """One kernel's verdicts and mutants; survivors below, indented."""
    first = rows[0]
    text = f"{first['kernel']:22} {first['strength']:7}" + "".join(f" {row['direction']} {_reason(row)}" for row in rows)
    text += "".join(f"; {row['log']}" for row in rows[:1] if row["reason"] != "ok")
    return "\n".join([text, *(f"    survived, {row['direction']}: {text}" for row in rows for text in row["survivors"])])


def _reason(row: dict) -> str:
    kinds = row["mutant_kinds"]
    tried = kinds.get("rejected", 0) + kinds.get("survived", 0)
    return f"{row['reason']} ({kinds.get('rejected', 0)} of {tried} mutants rejected)" if kinds else row["reason"]


def kernels(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a kernel that was judged: the reason of each direction, the mutants of its parallel work, and whether it holds."""
    judged = rows[rows["direction"] != "none"]
    table = judged.pivot_table(index=["kernel", "strength"], columns="direction", values="reason", aggfunc="first", observed=True)
    table = table.fillna("-").reset_index()
    kinds = {name: sum(map(Counter, group["mutant_kinds"]), Counter()) for name, group in judged.groupby("kernel")}
    for column in ("rejected", "survived", *APART):
        table[column] = [kinds[name][column] for name in table["kernel"]]
    for pair, (forth, back) in PAIRS.items():
        if {forth, back} <= {*table}:
            table[pair] = (table[forth] == "ok") & (table[back] == "ok")
    passes = table[[pair for pair in PAIRS if pair in table]].any(axis=1)
    table["holds"] = passes & (table["rejected"] > 0) & (table["survived"] == 0)
    return table


def totals(rows: pd.DataFrame) -> str:
    """The table of kernels, counts by direction and reason, how many pass both ways, and how many hold."""
    if rows.empty or (rows["direction"] == "none").all():
        return "no kernel"
    counts = rows.groupby(["direction", "reason"]).size().unstack(fill_value=0)
    table = kernels(rows)
    weak = table["strength"] != "strong"
    both = {pair: table[pair] if pair in table else weak & False for pair in PAIRS}
    serial, cuda = both.values()
    said = f"{serial.sum()} kernels pass serial <-> omp both ways ({(serial & weak).sum()} of them pass-weak), "
    said += f"{cuda.sum()} omp <-> cuda both ways; result buffers compared in {_by_results(rows)} of {weak.sum()} kernels that print a word"
    tried = rows[rows["mutant_kinds"].map(len) > 0]
    return "\n".join([table.to_string(index=False), "", counts.to_string(), said, *_mutant_lines(tried), *_gate(table)])


def _by_results(rows: pd.DataFrame) -> int:
    """Kernels that print a word of which some direction's program passed with result buffers compared."""
    passed = rows[(rows["strength"] != "strong") & (rows["reason"] == "ok")]
    return passed.loc[passed["results"] != "", "kernel"].nunique() if "results" in passed else 0


def _gate(table: pd.DataFrame) -> Iterator[str]:
    """How many kernels hold, by what they print."""
    held = table[table["holds"]]
    if table[["rejected", "survived"]].to_numpy().any():
        apart = ", ".join(f"{(held['strength'] == 'strong').eq(strong).sum()} print {WORDS[strong]}" for strong in (True, False))
        yield f"{len(held)} kernels pass both ways and every fault in their parallel work was rejected: {apart}"


def _mutant_lines(rows: pd.DataFrame) -> Iterator[str]:
    """How many mutants were rejected, for kernels that print values and for those that print a word."""
    for strong, group in rows.groupby(rows["strength"] == "strong"):
        kinds = sum(map(Counter, group["mutant_kinds"]), Counter())
        rates = []
        for where, name in (("", "in the parallel work"), (" outside", "in set-up and check")):
            n, of = kinds[f"rejected{where}"], kinds[f"rejected{where}"] + kinds[f"survived{where}"]
            rates += [f"{n} of {of} {name} rejected = {n / of:.1%}"] if of else []
        apart = ", ".join(f"{kinds[kind]} {kind}" for kind in (*APART, "no mutant"))
        yield f"mutants of {group['kernel'].nunique()} passing kernels that print {WORDS[strong]}: {'; '.join(rates)}; apart: {apart}"
