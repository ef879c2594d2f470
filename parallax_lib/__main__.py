"""The command line: run the study, collect only, adapt a translator, or say what this machine can do."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from parallax_lib.params import Params, UserError, load_file


def main(argv: list[str] | None = None) -> int:
    """Exit status 0, or 2 after one line that says what to mend."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        if argv[:1] == ["adapt"]:  # has its own options, one for each field of AdaptConfig
            from parallax_lib import adapt

            adapt.main(argv[1:])
            return 0
        args = parser().parse_args(argv)
        args.go(args)
    except UserError as e:
        print(f"parallax: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("parallax: stopped; run the same command again to go on", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m parallax_lib", description=__doc__)
    sub = top.add_subparsers(required=True, metavar="command")
    run = sub.add_parser("run", help="execute notebooks 01-06 with a parameter file")
    run.add_argument("params", type=Path)
    run.add_argument("--set", action="append", default=[], metavar="section.key=value")
    run.add_argument("--only", default="", metavar="01,03-05")
    run.add_argument("--force", action="store_true", help="run stages again even if nothing changed")
    run.set_defaults(go=_run)
    ship = sub.add_parser("collect", help="stage 01 without notebooks; writes rollouts a later run can add as `collect.shipped`")
    ship.add_argument("params", type=Path)
    ship.add_argument("--out", type=Path, required=True)
    ship.add_argument("--set", action="append", default=[], metavar="section.key=value")
    ship.set_defaults(go=_collect)
    tools = sub.add_parser("tools", help="compilers, GPU and sandbox of this machine")
    tools.set_defaults(go=_tools)
    sub.add_parser("adapt", help="LoRA-train the translator on forge programs (adapt --help)")
    return top


def _run(args) -> None:
    from parallax_lib import findings, pipeline

    params = load_file(args.params, tuple(args.set))
    check_machine(params)
    folder = pipeline.run(params, args.only, args.force, say=lambda line: print(line, flush=True))
    print(findings.summary(folder), flush=True)


def _collect(args) -> None:
    """Stage 01 without notebooks: collect, judge, probe the latents' influence, write a folder others can add."""
    from parallax_lib import pipeline, study

    params = load_file(args.params, tuple(args.set))
    check_machine(params.model_copy(update={"collect": params.collect.model_copy(update={"shipped": ""})}))
    study.collect_to(params, args.out, pipeline.manifest(params))


def check_machine(params: Params) -> None:
    """Refuse before anything is loaded: compiler, sandbox, shipped rollouts, adapter."""
    from parallax_lib import models, sandbox, toolchain

    toolchain.detect(params.validation.cuda)
    sandbox.probe(unsafe=params.validation.unsafe)
    for key, path in (("collect.shipped", params.collect.shipped), ("translator.adapter", params.translator.adapter)):
        if path and not models.resolve(path).exists():
            raise UserError(f"{key}: {path} does not exist; correct the path or set it to ''")


def _tools(args) -> None:
    from parallax_lib import study

    print(study.machine_text())


if __name__ == "__main__":
    raise SystemExit(main())
