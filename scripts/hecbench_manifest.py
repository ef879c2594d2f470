"""Makes parallax_lib/tasks/hecbench/manifest.yaml: arguments with which each OpenMP program ends in seconds on a CPU, and its labels.

    python scripts/hecbench_manifest.py ROOT [--names a,b] [--state FILE] [--minutes M] [--sizes]

Per kernel it builds the OpenMP program, or the CUDA program where the OpenMP one is SIMT-style or missing, and tries reduced
arguments in the sandbox under CPU_S seconds until the program ends well and does not fail its own check, then judges it and its
derived serial program as translations of each other; while its output does not depend on its parallel work, larger arguments are
tried; then two other sizes, so that hidden inputs are not the visible one alone.  `--sizes` adds these to the rows that lack them and
measures nothing else.  A row of the manifest that holds `constants` (size -> smaller value), `made` (input file -> recipe), `defines`
(macros) or `args` by hand is measured with these.
One program at a time; what is done is kept in the state file, so that a stopped call goes on; kernels that are not
measured keep their rows.  The manifest holds facts only.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from parallax_lib.sandbox import sandbox
from parallax_lib.sandbox.sandbox import Limits
from parallax_lib.tasks.hecbench import checkout as hecbench
from parallax_lib.tasks.hecbench import sources as hecbench_sources
from parallax_lib.tasks.hecbench.checkout import Entry
from parallax_lib.tasks.task import Kernel, Task
from parallax_lib.verdict import output_comparison, parallel_evidence, serialised_control, toolchain
from parallax_lib.verdict.bench import Bench, beside, run_env, run_once
from parallax_lib.verdict.build import Built, Ran, build
from parallax_lib.verdict.validate import judge

CPU_S = 4.0
LIMITS = Limits(cpu_s=CPU_S, wall_s=240, memory_mb=3072, output_bytes=1 << 20, processes=1100)
REPEAT = ("repeat", "iter", "repetition", "times", "runs")
SMALL = 32  # smaller numbers are dimensions, options or block sizes and stay
LINES = 3  # command lines of a kernel: the shown one and two others
PARTS = (0.75, 0.5, 2, 3)  # other sizes, as parts of the first command line's
REPEATS = (1, 8, 64, 4096, 1 << 20)  # of what is or looks like a repeat count, not above the Makefile's
START = {"omp": 4, "cuda": 1}  # threads, or the emulator's schedule
BY_HAND = ("constants", "made", "defines")
FIELDS = (*BY_HAND, "args", "omp", "cuda", "serial", "strength", "cpu_s", "left_out", "note")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--names", default="")
    parser.add_argument("--state", type=Path, default=Path("hecbench_state.json"))
    parser.add_argument("--cpu-s", type=float, default=CPU_S)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--sizes", action="store_true", help="only add command lines of other sizes")
    args = parser.parse_args()
    state = json.loads(args.state.read_text()) if args.state.exists() else {}
    bench = Bench(toolchain.detect(), sandbox.probe(), replace(LIMITS, cpu_s=args.cpu_s))
    until = time.monotonic() + 60 * args.minutes
    names = tuple(n for n in args.names.split(",") if n)
    known = hecbench.read_manifest(hecbench.MANIFEST)
    written = {name: {field: row[field] for field in BY_HAND if field in row} for name, row in known.items()}
    for entry in hecbench.entries(args.root, names, written):
        blocked = entry.why if not entry.why.endswith(hecbench.MEASURE) else ""
        if not speaker(entry) or blocked or (entry.name in state and not names):
            continue
        if time.monotonic() > until:
            break
        row = known.get(entry.name, {})
        state[entry.name] = sized(entry, bench, row) if args.sizes else measure(entry, bench, row.get("args", ()))
        print(entry.name, state[entry.name], flush=True)
        args.state.write_text(json.dumps(state))
    write(state)


def write(state: dict[str, dict]) -> None:
    for row in state.values():
        if row.get("strength") == "none":
            row["left_out"] = "prints nothing but times and its arguments"
    state = hecbench.read_manifest(hecbench.MANIFEST) | state
    rows = {name: {k: state[name][k] for k in FIELDS if k in state[name]} for name in sorted(state)}
    head = "# Made by scripts/hecbench_manifest.py from a HeCBench checkout: facts only, nothing of its text.\n"
    text = yaml.safe_dump(rows, default_flow_style=None, sort_keys=False, width=140)
    hecbench.MANIFEST.parent.mkdir(parents=True, exist_ok=True)
    hecbench.MANIFEST.write_text(head + text, encoding="utf-8")


def speaker(entry: Entry) -> str:
    """The API whose program says what is right: OpenMP, or CUDA where that is SIMT-style or missing; "" for none."""
    omp, cuda = (entry.programs.get(api) for api in ("omp", "cuda"))
    if omp and omp.text and not omp.indexed:
        return "omp"
    return "cuda" if cuda and cuda.text else ""


def measure(entry: Entry, bench: Bench, first: Sequence[Sequence] = ()) -> dict:
    """The manifest's row of one kernel.  `first`: the command lines that are tried before others."""
    api = speaker(entry)
    row = {field: entry.facts[field] for field in BY_HAND if field in entry.facts}
    row |= {api: entry.written[api]}
    built = _built(entry, api, bench)
    if built.reason != "ok":
        return {**row, "left_out": f"{api} program: {built.reason}: {first_error(built.log)}"}
    vacuous, why = None, ""
    for runs, ran, why in reduced(entry, api, built.program, bench, tuple(tuple(map(str, run)) for run in first)):
        if why:
            continue
        found = {"args": [list(r) for r in runs], "cpu_s": round(ran[0].outcome.cpu_s, 2)}
        found |= {"strength": output_comparison.strength([r.text for r in ran], sum(runs, ()))}
        if shows_its_work(entry, api, built.program, runs, ran, bench):
            found["args"] += [list(run) for run in others(entry, api, built.program, runs, bench)]
            return {**row, **found} | ({"serial": serial(entry, runs, bench)} if api == "omp" else {})
        vacuous = vacuous or {**row, **found, "serial": "vacuous: its output does not show its parallel work"}
    if vacuous and api == "cuda":
        return {**row, "left_out": "cuda program: its output does not show its parallel work"}
    return vacuous or {**row, "left_out": f"{api} program: {why}"}


def _built(entry: Entry, api: str, bench: Bench) -> Built:
    program = entry.programs[api]
    flags = (*program.flags, *program.defines) if api == "cuda" else program.flags
    return build(program.text, bench.toolchains[api], flags, bench.level)


def sized(entry: Entry, bench: Bench, row: dict) -> dict:
    """The row with command lines of other sizes after its own."""
    api = speaker(entry)
    built = _built(entry, api, bench)
    if not row.get("args") or built.reason != "ok":
        return row
    return row | {"args": [*row["args"], *map(list, others(entry, api, built.program, entry.runs, bench))]}


def others(entry: Entry, api: str, program: bytes, runs, bench: Bench) -> list[tuple[str, ...]]:
    """Command lines of other sizes than the first one's, in steps of SMALL, that end well; with `runs` not more than LINES."""
    found: list[tuple[str, ...]] = []
    for part in PARTS:
        run = tuple(str(max(SMALL, int(int(a) * part) // SMALL * SMALL)) if a.isdigit() and int(a) >= SMALL else a for a in runs[0])
        if len(runs) + len(found) >= LINES or run in (*runs, *found):
            continue
        ran = run_once(program, api, run, START[api], bench, entry.inputs)
        found += [run] if ran.reason == "ok" and not output_comparison.own_check(ran.text) else []
    return found


def shows_its_work(entry: Entry, api: str, program: bytes, runs, ran: list[Ran], bench: Bench) -> bool:
    """Whether there is parallel work on these arguments and the output is another one without it."""
    if api == "omp" and parallel_evidence.of_openmp([r.proof for r in ran]).parallel == "no":
        return False
    env, files, switch = run_env(4), beside(entry.inputs), "" if api == "omp" else "0"
    place = (bench.toolchains[api],)
    idle = [serialised_control.run_idle(program, *place, run, bench.limits, bench.level, env, files, switch, 2) for run in runs]
    return any(i.reason != "ok" or output_comparison.other_text(r.text, i.text) for i, r in zip(idle, ran, strict=True))


def serial(entry: Entry, runs, bench: Bench) -> str:
    """The first of `checkout.SERIAL` with which the OpenMP and the derived serial program validate as translations of each other, else why
    none.  Both ways: where a serial program does not build or fails its own check, OpenMP's lines say what is right, and OpenMP passes."""
    omp, why = entry.programs["omp"], ""
    slow = replace(bench.limits, cpu_s=3 * bench.limits.cpu_s)
    for said, defined in hecbench.SERIAL.items():
        if defined and "_OPENMP" not in omp.text:
            break
        sources = {"serial": hecbench_sources.strip_omp(omp.text, defined), "omp": omp.text}
        more = {"oracle": "own", "inputs": entry.inputs}
        kernel = Kernel(entry.name, entry.name, "hecbench", sources, runs[0], runs, dict.fromkeys(sources, omp.flags), **more)
        tasks = (Task(kernel, "omp", "serial"), Task(kernel, "serial", "omp"))
        verdicts = (judge(sources[task.target], task, bench.toolchains, bench.level, slow) for task in tasks)
        failed = next((verdict for verdict in verdicts if not verdict.validated), None)
        if failed is None:
            return said
        why = why or f"{failed.reason}: {first_error(failed.log)}"
    return why


def first_error(log: str) -> str:
    line = next((x for x in log.splitlines() if "error" in x or "undefined reference" in x), (log.splitlines() or [""])[0])
    return line.strip()[:140]


def reduced(
    entry: Entry, api: str, program: bytes, bench: Bench, first: tuple[tuple[str, ...], ...] = ()
) -> Iterator[tuple[tuple[tuple[str, ...], ...], list[Ran], str]]:
    """(reduced arguments, how they ran, why they cannot be used or "") of one try after the other."""
    usage = hecbench_sources.usage(entry.programs[api].text)
    tried, slow = {()}, []  # slow: (repeat, scale) that took too long
    for scale in (0, 64, 16, 4, 1, 512, 8192):
        for repeat in REPEATS if scale else (0,):
            runs = tuple(dict.fromkeys(scaled(run, scale, usage, repeat) for run in entry.runs)) if scale else first
            if runs in tried or any(repeat >= r and scale <= s for r, s in slow):
                continue
            tried.add(runs)
            ran = [run_once(program, api, run, START[api], bench, entry.inputs) for run in runs]
            bad = next((r for r in ran if r.reason != "ok"), None)
            failed = next((f for r in ran if (f := output_comparison.own_check(r.text))), "")
            slow += [(repeat, scale)] if bad and bad.reason in ("timeout", "memory_limit") else []
            why = f"{bad.reason}: {first_error(bad.log)}" if bad else f"fails its own check: {failed[:100]}" if failed else ""
            yield runs, ran, why


def scaled(run: tuple[str, ...], scale: int, usage: tuple[str, ...], repeat: int = 1) -> tuple[str, ...]:
    """One run's arguments with at most `repeat` repeats and sizes divided by `scale`, not below SMALL unless `scale` is the last one."""
    whole = [i for i, a in enumerate(run) if a.isdigit()]
    named = usage if len(usage) == len(run) else ()
    repeats = {i for i in whole if named and any(w in named[i] for w in REPEAT)}
    repeats |= {i for i in whole if i and any(w in run[i - 1] for w in ("-r", "--repeat", "-iter", "--iter", "-runs"))}
    if not repeats and not named and whole and len(run) > 0:
        repeats = {whole[-1]}
    values, floor = list(run), SMALL if scale < 512 else 2
    for i in whole:
        value = int(run[i])
        smaller = max(floor, value // scale) if value > SMALL else value // 2 if value > 16 and scale >= 512 else value
        values[i] = str(min(value, repeat) if i in repeats else smaller)
    return tuple(values)


if __name__ == "__main__":
    main()
