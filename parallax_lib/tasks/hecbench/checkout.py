"""A HeCBench checkout as it is: its programs as kernels, and an index that says what can be used and why not.

Knows the layout src/NAME-API/, Makefiles as text, and this repository's own manifest of arguments and labels.
Knows nothing of compilers, sandboxes or verdicts; nothing of the checkout is executed or copied here.
Its programs have fixed inputs and partly check themselves, so a translation is compared line by line with the output of
its own source program.  A serial program is the OpenMP one without its pragmas, where the manifest says that it prints the same.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from parallax_lib.core.errors import UserError
from parallax_lib.tasks.given import Given
from parallax_lib.tasks.hecbench import constants, made_inputs, makefile
from parallax_lib.tasks.hecbench import sources as hecbench_sources
from parallax_lib.tasks.task import Kernel

MANIFEST = Path(__file__).parent / "manifest.yaml"
GIVEN = {"DEVICE": "cpu", "OPTIMIZE": "yes", "DEBUG": "no", "LAUNCHER": "", "VERIFY": "yes"}
MAKEFILES = {"omp": ("Makefile.aomp", "Makefile"), "cuda": ("Makefile",)}
MAX_RUNS = 3
MAX_INPUT = 4 << 20  # bytes of input files shown to one program, together
NO_INPUT = (*makefile.UNIT, ".a", ".cuh", ".h", ".hpp", ".o", ".py", ".sh", ".so")
OUTPUT_NAME = re.compile(r"out|result|\.m8$", re.I)
NUMBER = re.compile(r"[-+]?[\d.]+(?:e[-+]?\d+)?f?", re.I)
MEASURE = "not measured: only its CUDA program can say what is right; scripts/hecbench_manifest.py finds arguments with which it ends"
INDEXED = "its OpenMP program is SIMT-style: thread and team numbers stand for CUDA indices"
SERIAL = {"ok": False, "ok with _OPENMP": True}  # what the manifest says of a serial program -> whether _OPENMP is defined
NONE: Mapping[str, Mapping] = {}
SHOWN = "../job/inputs/"  # where the sandbox has the input files


@dataclass(frozen=True)
class Program:
    """One API's program.  text: "" when it cannot be used, then `why` says so; foreign: other folders' files in it."""

    api: str
    text: str
    flags: tuple[str, ...] = ()
    runs: tuple[tuple[str, ...], ...] = ()
    files: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    why: str = ""
    defines: tuple[str, ...] = ()
    short: str = ""
    beside: dict[str, str] = field(default_factory=dict)
    indexed: bool = False


@dataclass(frozen=True)
class Entry:
    """One name of the checkout.  inputs: name -> bytes of the files its arguments name; why: why it is not a kernel.  written: API ->
    fingerprint of the program as the checkout has it."""

    name: str
    programs: dict[str, Program]
    runs: tuple[tuple[str, ...], ...]
    inputs: dict[str, bytes]
    facts: dict
    why: str = ""
    written: dict[str, str] = field(default_factory=dict)


def kernels(root: Path, names: tuple[str, ...] = ()) -> list[Kernel]:
    """Every usable kernel of the checkout, or of `names`.  UserError where there is none."""
    if found := [kernel for entry in entries(root, names) if (kernel := as_kernel(entry)) is not None]:
        return found
    raise UserError(f"{root}: no usable kernel under src/; suite.root must name a HeCBench checkout")


def entries(root: Path, names: tuple[str, ...] = (), facts: Mapping[str, dict] | None = None) -> list[Entry]:
    """What is known of each name, or of `names`, in alphabetical order.  Reads only.  `facts`: rows in place of the manifest's."""
    src, known = root.expanduser() / "src", listed(root)
    if unknown := [n for n in names if n not in known]:
        raise UserError(f"{src}: no kernel {unknown[0]!r}")
    facts = read_manifest(MANIFEST) if facts is None else facts
    return [_entry(src, name, facts.get(name, {})) for name in (names or known)]


def listed(root: Path) -> list[str]:
    """Names of the checkout's folders, in alphabetical order; none is read."""
    src = root.expanduser() / "src"
    if not src.is_dir():
        raise UserError(f"{root}: no src/ folder; suite.root must name a HeCBench checkout")
    return sorted({p.name.rsplit("-", 1)[0] for api in MAKEFILES for p in src.glob(f"*-{api}") if p.is_dir()})


def read_manifest(path: Path) -> dict[str, dict]:
    """kernel -> args, serial, strength, note; {} without the file."""
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}


def as_kernel(entry: Entry) -> Kernel | None:
    """The entry as a kernel with at least one task, None when `entry.why` or missing sources speak against it."""
    usable = {api: p for api, p in entry.programs.items() if p.text}
    if entry.why or not usable or ({*usable} != {"cuda"} and len(usable) < 2):
        return None
    apart = {api: p.beside for api, p in usable.items() if p.short}
    shared = {name: text for beside in reversed(apart.values()) for name, text in beside.items()}
    return Kernel(
        entry.name,
        entry.name,  # its family: no published families exist
        "hecbench",
        {api: usable[api].short or usable[api].text for api in ("serial", "omp", "cuda") if api in usable},
        entry.runs[0],
        entry.runs,
        {api: p.flags for api, p in usable.items() if p.flags},
        oracle="own",
        strength=entry.facts.get("strength", "unknown"),
        unshown=tuple(api for api, p in usable.items() if p.foreign or _takes_others(p, entry)),
        inputs=entry.inputs,
        given={api: Given(beside=shared | apart.get(api, {})) for api in ("serial", "omp", "cuda")} if shared else {},
        asked=("cuda-omp",) if {*usable} == {"cuda"} else (),
        unreliable=tuple(api for api, p in usable.items() if p.indexed),
    )


def _takes_others(program: Program, entry: Entry) -> bool:
    """Whether its Makefile gives a program another number of arguments than the runs and OpenMP's have: translations would fail."""
    written = {len(run) for run in program.runs if run}
    return bool(written) and not written & {len(run) for run in (*entry.runs, *_first_runs(entry.programs))}


def _first_runs(programs: Mapping[str, Program]) -> tuple[tuple[str, ...], ...]:
    return next((programs[api].runs for api in MAKEFILES if api in programs and programs[api].runs), ())


def as_written(entry: Entry) -> Kernel | None:
    """The entry as a kernel for its texts alone, whether or not it can be judged here; None without a program.  Its serial program is the
    OpenMP one without pragmas, where nothing of OpenMP is left in it; nobody has run it."""
    programs = {api: program for api, program in entry.programs.items() if api != "serial"}
    serial = _serial(programs["omp"], {"serial": "ok"}) if "omp" in programs else None
    if serial and not re.search(r"\bomp_\w+", serial.text):
        programs["serial"] = serial
    return as_kernel(replace(entry, programs=programs, why=""))


def fingerprint(text: str) -> str:
    """What the manifest remembers of a program."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _entry(src: Path, name: str, facts: dict) -> Entry:
    programs = {api: _program(src, name, api) for api in MAKEFILES if (src / f"{name}-{api}").is_dir()}
    written = {api: fingerprint(program.text) for api, program in programs.items() if program.text}
    for api, mark in written.items():
        if facts.get(api, mark) != mark:
            facts = {"note": f"the {api} program is not the one the manifest was made from: its arguments and labels are not used"}
    programs = {api: _telling(_smaller(program, facts.get("constants", {})), facts.get("defines", ())) for api, program in programs.items()}
    if omp := programs.get("omp"):
        programs = {"serial": _serial(omp, facts), **programs}
    runs, inputs, why = _resolve(src, name, _first_runs(programs) or ((),), facts.get("made", {}))
    reduced = tuple(tuple(map(str, run)) for run in facts.get("args", ()))
    fixed = sorted({f for p in programs.values() for f in hecbench_sources.fixed_inputs(p.text)})
    if not why and fixed:
        why = _fixed(src, name, fixed[0])
    why = why or facts.get("left_out", "") or _unmeasured(programs, facts)
    return Entry(name, programs, reduced or runs[:MAX_RUNS], inputs, facts, why, written)


def _smaller(program: Program, values: Mapping[str, float]) -> Program:
    """The program with other values of the sizes that are written in it; without text where one is not."""
    if not values or not program.text:
        return program
    text, absent = constants.with_values(program.text, values)
    if absent:
        return replace(program, text="", short="", why=f"{absent}, a size that the manifest makes smaller, is no number in it")
    whole = {name: constants.with_values(part, values)[0] for name, part in program.beside.items()}
    return replace(program, text=text, short=constants.with_values(program.short, values)[0], beside=whole)


def _telling(program: Program, names: Sequence[str]) -> Program:
    """The program with these macros defined: some print what they computed in #ifdef alone."""
    head = "".join(f"#define {name}\n" for name in names)
    return replace(program, text=program.text and head + program.text, short=program.short and head + program.short)


def _unmeasured(programs: dict[str, Program], facts: dict) -> str:
    """Why a kernel is not offered that only its CUDA program can speak for: nobody saw it end on a CPU with smaller arguments."""
    omp = programs.get("omp", Program("omp", ""))
    if (omp.text and not omp.indexed) or not programs.get("cuda", omp).text or facts.get("args"):
        return ""
    return (f"{INDEXED}; " if omp.indexed else "") + MEASURE


def _program(src: Path, name: str, api: str) -> Program:
    folder, rules = src / f"{name}-{api}", read_makefile(src, name, api)
    if rules is None:
        return Program(api, "", why="no Makefile")
    if not (units := units_of(src, name, api, rules)):
        return Program(api, "", why="no source file in its folder")
    search = (folder, *(folder / f[2:] for f in rules.flags if f.startswith("-I")), src / f"{name}-cuda")
    defines = tuple(f for f in rules.flags if f.startswith("-D"))
    flat = hecbench_sources.flatten(src.parent, folder, units, search, defines, api)
    flags = tuple(f for f in rules.flags if not f.startswith(("-I", "-D")))
    if flat.text and "main" not in flat.text:
        return Program(api, "", why="no main in the sources that the Makefile names", defines=defines)
    indexed = api == "omp" and hecbench_sources.simt(flat.text)
    known = (flags, rules.runs, flat.files, flat.foreign, flat.why, defines, flat.short, flat.beside, indexed)
    return Program(api, flat.text, *known)


def units_of(src: Path, name: str, api: str, rules: makefile.Makefile) -> tuple[str, ...]:
    """The units of a program, as its Makefile names them, by its object files, or all of its folder; relative to its folder."""
    folder, twin = src / f"{name}-{api}", src / f"{name}-cuda"
    compiled = [unit for stem in rules.objects if (unit := _compiled(folder, twin, stem) or _by_rule(folder, rules.compiled.get(stem, "")))]
    units = rules.sources or tuple(compiled) or tuple(sorted(p.name for p in folder.iterdir() if p.suffix in makefile.UNIT))
    return tuple(_found(folder, twin, unit) for unit in units)


def _compiled(folder: Path, twin: Path, stem: str) -> str:
    """The unit of an object file: in its folder, else its twin's."""
    return next((stem + end for place in (folder, twin) for end in makefile.UNIT if (place / (stem + end)).exists()), "")


def _by_rule(folder: Path, unit: str) -> str:
    """The unit that the rule of an object file names, where it is in the checkout."""
    return unit if unit and (folder / unit).is_file() else ""


def read_makefile(src: Path, name: str, api: str) -> makefile.Makefile | None:
    """A program's Makefile, None where it has none."""
    path = next((p for f in MAKEFILES[api] if (p := src / f"{name}-{api}" / f).is_file()), None)
    return makefile.read(path.read_text(encoding="utf-8", errors="replace"), GIVEN) if path else None


def _found(folder: Path, twin: Path, unit: str) -> str:
    """The unit as named, or the twin's file of that name."""
    return f"../{twin.name}/{unit}" if not (folder / unit).exists() and (twin / unit).exists() else unit


def _serial(omp: Program, facts: dict) -> Program:
    """The OpenMP program without its pragmas, if the manifest knows it to print the same."""
    if not omp.text or omp.indexed:
        return replace(omp, api="serial", text="", short="", indexed=False, why=omp.why or INDEXED)
    said = facts.get("serial", "not measured: not in the manifest")
    if said not in SERIAL:
        return replace(omp, api="serial", text="", short="", why=said)
    text, short = (hecbench_sources.strip_omp(part, SERIAL[said]) for part in (omp.text, omp.short))
    return replace(omp, api="serial", text=text, short=short)


def _resolve(src: Path, name: str, runs, made: Mapping[str, Mapping] = NONE) -> tuple[tuple[tuple[str, ...], ...], dict[str, bytes], str]:
    """(arguments with input files where the sandbox shows them, those files, why the program cannot run)."""
    inputs = {file: made_inputs.made(recipe) for file, recipe in made.items()}
    resolved = []
    for run in runs:
        args = []
        for i, arg in enumerate(run):
            if Path(arg).name in made:
                args.append(SHOWN + Path(arg).name)
                continue
            place, why = _input(src, name, arg, run[i - 1] if i else "", inputs)
            if why:
                return runs, {}, why
            args.append(place)
        resolved.append(tuple(args))
    if sum(map(len, inputs.values())) > MAX_INPUT:
        return tuple(resolved), {}, f"input files over {MAX_INPUT >> 20} MiB"
    return tuple(dict.fromkeys(resolved)), inputs, ""


def _input(src: Path, name: str, arg: str, before: str, inputs: dict[str, bytes]) -> tuple[str, str]:
    """(the argument for the sandboxed run, why it cannot be had); a file it names is added to `inputs`."""
    if NUMBER.fullmatch(arg) or arg.startswith("-"):
        return arg, ""
    path = _file(src, name, arg)
    if path is None:
        is_file = ("/" in arg or re.search(r"\.[a-z]\w{1,4}$", arg, re.I)) and before != "-o" and not OUTPUT_NAME.search(Path(arg).name)
        return arg, f"missing input: {arg}" if is_file else ""
    if not path.is_relative_to(src.parent.resolve()):
        return arg, f"input outside the checkout: {arg}"
    if path.is_dir() or path.suffix.lower() in NO_INPUT:
        return arg, f"input is a folder or a program's text: {arg}"
    if path.stat().st_size > MAX_INPUT:
        return arg, f"input file over {MAX_INPUT >> 20} MiB: {arg}"
    shown, data = "-".join(path.relative_to(src.resolve()).parts), path.read_bytes()
    while inputs.setdefault(shown, data) != data:  # a-b/c and a/b-c
        shown = f"other-{shown}"
    return SHOWN + shown, ""


def _file(src: Path, name: str, arg: str) -> Path | None:
    """The file that an argument names from a program's folder; else the one of that name in the folder, where the path is mistaken."""
    folders = [src / f"{name}-{api}" for api in MAKEFILES]
    paths = [folder / arg for folder in folders] + [folder / Path(arg).name for folder in folders if "/" in arg]
    return next((path.resolve() for path in paths if path.exists()), None)


def _fixed(src: Path, name: str, file: str) -> str:
    present = any((src / f"{name}-{api}" / file).exists() for api in MAKEFILES)
    return f"reads {file}, a name written in the program" + ("" if present else "; missing from the checkout")
