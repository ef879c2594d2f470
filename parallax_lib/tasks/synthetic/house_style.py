"""Forge pairs for training in the manner of many authors: what people vary in such programs, and forge itself keeps alike.

A pair is styled as a whole: source and target print the same and share whatever their APIs share.  Knows the order of a
program's parts.  Knows no strategy, and runs nothing.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace

from parallax_lib.tasks.synthetic import device_style, habits, host_style, kernel_style, measured
from parallax_lib.tasks.synthetic.codegen import Array, Spec, Stage, function_text, looped
from parallax_lib.tasks.synthetic.device_style import Device
from parallax_lib.tasks.synthetic.habits import Habits

HEADERS = {  # C++ name -> (C name, what needs it)
    "cmath": ("math.h", r"\b(sqrt|fabs|exp|log|pow|tanh|cbrt|atan|fmin|fmax)f?\("),
    "cstdio": ("stdio.h", r"printf\("),
    "cstdlib": ("stdlib.h", r"\b(atoi|strtol|malloc|calloc|free|rand|srand|exit)\("),
    "cstring": ("string.h", r"\bmem(set|cpy)\("),
    "algorithm": ("", r"std::(min|max)\("),
    "chrono": ("", r"std::chrono"),
    "ctime": ("time.h", r"\bclock\("),
    "iomanip": ("", r"std::setprecision"),
    "iostream": ("", r"std::(cout|cerr)"),
    "random": ("", r"std::mt19937"),
    "string": ("", r"std::stoi"),
    "vector": ("", r"std::vector"),
}
STD = set("transform merge fill gather exchange rotate partition reduce count project distance".split())


def prepare(spec: Spec, rng: random.Random, cuda: bool) -> tuple[Spec, Habits]:
    """The spec in other element types, block sizes and with clipped values, and the habits of its author."""
    h = habits.draw(rng, spec.family)
    if h.element in ("int", "unsigned") and not kernel_style.can_be_whole(spec):
        h = replace(h, element="double")
    if not cuda:
        h = replace(h, memory="copy")
    spec = kernel_style.elements(spec, h, rng)
    block = "BLOCK_SIZE" if h.sizes == "constant" else str(h.block)
    stages = tuple(replace(s, holes=s.holes | {"B": block}, main_holes=s.main_holes | {"B": block}) for s in spec.stages)
    return replace(spec, stages=stages, block=h.block), h


def program(spec: Spec, h: Habits, api: str, plan: tuple[str, ...]) -> str:
    """The program's text for an API and a plan (one token a function)."""
    functions = [kernel_style.function(function_text(stage, api, word), api, h) for stage, word in zip(spec.stages, plan, strict=True)]
    helpers = [_helper(helper.text, api, h) for helper in spec.helpers]
    body = "\n".join([*(text + "\n" for text in helpers), *functions, *filter(None, [measured.functions(spec, h)])])
    if "block_sum(" in body:
        body = kernel_style.WARP.format(h.element, h.helpers.replace("static ", "")) + body
    reported = [a for stage in spec.stages for a in stage.written()]
    reported = reported[::-1] if spec.reverse_reports else reported
    main = _main(spec, h, api, plan, reported)
    front = device_style.before_main(h, body + main) if api == "cuda" else ""
    source = host_style.SOURCES[h.source].format(h.random)
    parts = [kernel_style.macros(body), front, source + "\n" if source else "", host_style.summary(spec, h, reported), body, "\n", main]
    return _finish("".join(parts), h, {s.func for s in spec.stages})


def _helper(text: str, api: str, h: Habits) -> str:
    text = kernel_style.function(text, "device" if api == "cuda" else api, h)
    if api == "cuda":
        inline = "__forceinline__ " if h.helpers == "static inline " else h.helpers
        return ("__host__ " if h.verified else "") + "__device__ " + inline + text
    return h.helpers + text


def _main(spec: Spec, h: Habits, api: str, plan: tuple[str, ...], reported: list[Array]) -> str:
    device = Device(spec, h, plan)
    parts = [("", ["int main(int argc, char **argv) {", *host_style.arguments(spec, h), *host_style.precision(h)])]
    values = host_style.fill(spec, h)
    if api != "cuda":
        calls = [looped(stage, f"  {stage.func}({_arguments(stage, h)});") for stage in spec.stages]
        parts += [("set up inputs", [*host_style.declare(spec, h), *values]), ("reference", measured.expected(spec, h))]
        parts += [("compute", measured.timed(h, api, device.call, calls))]
    elif h.memory == "managed":
        parts += [("managed memory", device_style.allocate(device)), ("set up inputs", values)]
        parts += [("reference", measured.expected(spec, h))]
    else:
        host = device_style.pinned(device) if h.memory == "pinned" else host_style.declare(spec, h)
        parts += [("set up inputs", [*host, *values]), ("reference", measured.expected(spec, h))]
        parts += [("device memory", device_style.allocate(device))]
        parts += [("copy to the device", device_style.copy_in(device))]
    if api == "cuda":
        launches = measured.timed(h, api, device.call, device_style.launches(device), device.streams())
        parts += [("launch", launches), ("copy back", device_style.copy_back(device))]
    freed = device_style.free(device) if api == "cuda" else host_style.free(spec, h)
    parts += [("results", host_style.output(spec, h, reported)), ("compare", measured.compared(spec, h))]
    parts += [("clean up", [*freed, *measured.freed(spec, h)])]
    return "\n".join([line for title, lines in parts for line in _titled(title, lines, h)] + ["  return 0;", "}", ""])


def _titled(title: str, lines: list[str], h: Habits) -> list[str]:
    if not (h.comments and title and lines):
        return lines
    title = title.capitalize() if h.before else title
    return ["", f"  /* {title} */" if h.language == "c" else f"  // {title}", *lines]


def _arguments(stage: Stage, h: Habits) -> str:
    arrays = {a.name: host_style.passed(h, a) for a in stage.arrays}
    return ", ".join(arrays.get(value, value) for _, value in stage.params)


def _finish(text: str, h: Habits, functions: set[str]) -> str:
    """Headers, and the layout."""
    c = h.language == "c"
    names = [old if c and old else new for new, (old, needs) in HEADERS.items() if re.search(needs, text)]
    names += ["omp.h"] if "omp_" in text else []
    if "__global__" in text and h.index == "const":
        names.append("cuda_runtime.h")
    head = "".join(f"#include <{name}>\n" for name in names) + "\n"
    if h.using and not functions & STD and "std::" in text:
        head, text = head + "using namespace std;\n\n", text.replace("std::", "")
    if h.stars:
        text = re.sub(r"\b(double|float|int|unsigned|char|T) \*(?=[A-Za-z_])", r"\1* ", text)
    if h.braces:
        text = re.sub(r"^([a-zA-Z_].*\)) \{$", r"\1\n{", text, flags=re.M)
    if h.before:
        text = re.sub(r"; (\w+)\+\+\)", r"; ++\1)", text)
    if h.indent != "  ":
        text = re.sub(r"^((?:  )+)(?=\S)", lambda m: h.indent * (len(m[1]) // 2), text, flags=re.M)
    return head + text
