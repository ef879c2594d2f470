"""Writes one forge program: scaffolding, hot functions and main, for one API and one plan (one token a function).

Knows the program style and how arrays travel to a device.  Does not choose programs or plans, and runs nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from parallax_lib.tasks.synthetic.patterns import ArraySpec, body, expand, option_of, patterns

RANDOM = """static unsigned state = 1;
static double rnd() { state = state * 1664525u + 1013904223u; return (state >> 8) / 16777216.0; }
"""
REPORT = """template <class T> void report(const char *name, const std::vector<T> &a) {
  double s = 0, w = 0;
  for (size_t i = 0; i < a.size(); i++) { s += a[i]; w += a[i] * ((i * 37 + 11) % 101); }
  printf("%s %.9e %.9e %.9e\\n", name, s, w, (double)a[a.size() / 2]);
}
"""


@dataclass(frozen=True)
class Array:
    """A vector of main: `size` is an expression over n and m; `init` one of the grammar's kinds or `computed`."""

    name: str
    ctype: str
    size: str
    init: str


@dataclass(frozen=True)
class Stage:
    """One hot function: a pattern with its holes filled for the function (`holes`) and for main (`main_holes`)."""

    pattern: str
    func: str
    params: tuple[tuple[str, str], ...]  # (declaration in the function, argument in main), arrays as (.., name)
    arrays: tuple[Array, ...]  # in the order of the pattern's header
    holes: dict[str, str]
    main_holes: dict[str, str]
    loop: str = ""  # the loop of main around the call, e.g. "for (int t = 0; t < 4; t++)"

    def specs(self) -> tuple[ArraySpec, ...]:
        return patterns()[self.pattern].arrays

    def written(self) -> tuple[Array, ...]:
        return tuple(a for a, spec in zip(self.arrays, self.specs(), strict=True) if spec.use != "in")


@dataclass(frozen=True)
class Helper:
    """A function that hot functions call: `text` without what an API writes before it."""

    name: str
    text: str


@dataclass(frozen=True)
class Spec:
    """One program: its stages in source order and everything of main."""

    name: str
    family: str
    seed: int
    stages: tuple[Stage, ...]
    default_n: int
    columns: str  # expression of m over n; "" where no stage has columns
    block: int
    reverse_reports: bool
    public_args: tuple[str, ...]
    hidden_args: tuple[tuple[str, ...], ...]
    helpers: tuple[Helper, ...] = ()

    def arrays(self) -> tuple[Array, ...]:
        return tuple(dict.fromkeys(a for stage in self.stages for a in stage.arrays))


def program(spec: Spec, api: str, plan: tuple[str, ...]) -> str:
    """The text of the program; `plan` holds one plan token per stage and is ignored for serial."""
    functions = "\n".join(function_text(stage, api, word) for stage, word in zip(spec.stages, plan, strict=True))
    before = "__device__ " if api == "cuda" else ""
    functions = "".join(f"{before}{helper.text}\n\n" for helper in spec.helpers) + functions
    main = _main(spec, api, plan)
    report = REPORT + "\n" if "report(" in main else ""
    code = f"{RANDOM}\n{report}{functions}\n{main}"
    headers = ["cstdio", "cstdlib", "vector"]
    if re.search(r"\b(sqrt|fabs|exp|log|pow|tanh|cbrt|atan|fmin|fmax)\(", code):
        headers.insert(0, "cmath")
    if "omp_" in code:
        headers.append("omp.h")
    return "\n".join(f"#include <{h}>" for h in headers) + "\n\n" + code


def function_text(stage: Stage, api: str, word: str) -> str:
    return expand(body(patterns()[stage.pattern], api, word), stage.holes)


def _main(spec: Spec, api: str, plan: tuple[str, ...]) -> str:
    lines = ["int main(int argc, char **argv) {", f"  int n = argc > 1 ? atoi(argv[1]) : {spec.default_n};"]
    lines += [f"  int m = {spec.columns};"] if spec.columns else []
    lines += ["  state = argc > 2 ? atoi(argv[2]) : 1;", *_declare(spec), *_fill(spec)]
    if api == "cuda":
        lines += _to_device(spec) + [x for s, w in zip(spec.stages, plan, strict=True) for x in _launch(spec, s, w)]
        lines += _from_device(spec, plan)
    else:
        lines += [looped(stage, f"  {stage.func}({_arguments(stage, '{}.data()')});") for stage in spec.stages]
    lines += _reports(spec)
    if api == "cuda":
        lines += [f"  cudaFree(d_{a.name});" for a in spec.arrays()]
    return "\n".join([*lines, "  return 0;", "}", ""])


def looped(stage: Stage, call: str) -> str:
    """The call, within the loop of main where the stage has one."""
    return f"  {stage.loop}\n" + "\n".join("  " + line for line in call.splitlines()) if stage.loop else call


def _arguments(stage: Stage, array: str) -> str:
    names = {a.name for a in stage.arrays}
    return ", ".join(array.format(value) if value in names else value for _, value in stage.params)


def _declare(spec: Spec) -> list[str]:
    groups: dict[str, list[str]] = {}
    for array in spec.arrays():
        groups.setdefault(array.ctype, []).append(f"{array.name}({array.size})")
    return [f"  std::vector<{ctype}> {', '.join(names)};" for ctype, names in groups.items()]


def _fill(spec: Spec) -> list[str]:
    lines = []
    for a in spec.arrays():
        kind, _, value = a.init.partition(":")
        if kind == "value":
            lines.append(f"  for (auto &v : {a.name}) v = {value};")
        elif kind == "ramp":
            lines.append(f"  for (int i = 0; i <= n; i++) {a.name}[i] = i * {value} - i % {value};")
    return lines


def bytes_of(array: Array) -> str:
    size = f"({array.size})" if " + " in array.size else array.size
    return f"{size} * sizeof({array.ctype})"


def _to_device(spec: Spec) -> list[str]:
    read = {a for s in spec.stages for a, x in zip(s.arrays, s.specs(), strict=True) if x.use != "out"}
    groups: dict[str, list[str]] = {}
    for array in spec.arrays():
        groups.setdefault(array.ctype, []).append(f"*d_{array.name}")
    lines = [f"  {ctype} {', '.join(names)};" for ctype, names in groups.items()]
    lines += [f"  cudaMalloc(&d_{a.name}, {bytes_of(a)});" for a in spec.arrays()]
    return lines + [f"  cudaMemcpy(d_{a.name}, {a.name}.data(), {bytes_of(a)}, cudaMemcpyHostToDevice);"
                    for a in spec.arrays() if a in read]


def _from_device(spec: Spec, plan: tuple[str, ...]) -> list[str]:
    back = [s for s, word in zip(spec.stages, plan, strict=True) if word != "none" or own_none(s)]
    kept = [a for stage in back for a in stage.written()]
    return [f"  cudaMemcpy({a.name}.data(), d_{a.name}, {bytes_of(a)}, cudaMemcpyDeviceToHost);" for a in kept]


def own_none(stage: Stage) -> bool:
    """Whether the grammar gives `none` a kernel of its own (a missing guard) instead of a missing copy back."""
    options = patterns()[stage.pattern].options["cuda"]
    return sum(option.text == options["none"].text for option in options.values()) == 1


def _launch(spec: Spec, stage: Stage, word: str) -> list[str]:
    grid, extras = launch_parts(option_of(patterns()[stage.pattern], "cuda", word).launch)
    arguments = extras.get("args") or _arguments(stage, "d_{}")
    arguments += f", {extras['plus']}" if "plus" in extras else ""
    call = f"{stage.func}{_configuration(grid, spec.block)}({arguments});"
    text = f"  {extras['loop']}\n    {call}" if "loop" in extras else f"  {call}"
    return [looped(stage, expand(text, stage.main_holes))]


def launch_parts(launch: str) -> tuple[str, dict[str, str]]:
    """`over n; loop for (...); plus j` -> ("over n", {"loop": "for (...)", "plus": "j"})."""
    match = re.fullmatch(r"(.*?)(?:; loop (for \(.*?\))(?:; (plus|args) (.*))?)?", launch)
    extras = {"loop": match[2], match[3]: match[4]}
    return match[1], {key: value for key, value in extras.items() if value}


def _configuration(grid: str, block: int) -> str:
    if grid.startswith("over "):
        sides = grid[5:].split(" x ")
        if len(sides) == 2:
            return f"<<<dim3(({sides[1]} + 15) / 16, ({sides[0]} + 15) / 16), dim3(16, 16)>>>"
        return f"<<<({sides[0]} + {block - 1}) / {block}, {block}>>>"
    if grid.startswith("blocks "):
        return f"<<<{grid[7:]}, {block}>>>"
    return f"<<<1, {block}>>>" if grid == "single" else grid


def _reports(spec: Spec) -> list[str]:
    arrays = [a for stage in spec.stages for a in stage.written()]
    lines = []
    for a in reversed(arrays) if spec.reverse_reports else arrays:
        if a.size == "1":
            form = "%.9e" if a.ctype == "double" else "%d"
            lines.append(f'  printf("{a.name} {form}\\n", {a.name}[0]);')
        else:
            lines.append(f'  report("{a.name}", {a.name});')
    return lines
