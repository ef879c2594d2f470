"""Host code of a styled forge program: arguments, storage, values, output, as an author's habits have it.

Both texts of a pair get the same lines here, so they print the same words.  Knows nothing of devices or hot functions.
"""

from __future__ import annotations

import re

from parallax_lib.tasks.synthetic.codegen import Array, Spec
from parallax_lib.tasks.synthetic.habits import Habits

SOURCES = {
    "lcg": "static unsigned state = 1;\n"
           "static double {0}() {{ state = state * 1664525u + 1013904223u; return (state >> 8) / 16777216.0; }}\n",
    "libc": "static double {0}() {{ return rand() / (RAND_MAX + 1.0); }}\n",
    "mersenne": "static std::mt19937 gen(1);\nstatic std::uniform_real_distribution<double> dist(0.0, 1.0);\n"
                "static double {0}() {{ return dist(gen); }}\n",
    "formula": "",
}  # fmt: skip
SEEDS = {"lcg": "state = {};", "libc": "srand({});", "mersenne": "gen.seed({});", "formula": "int seed = {};"}
SUMMARY = {
    "three": "  double s = 0, w = 0;\n  for (size_t i = 0; i < LEN; i++) {\n    s += a[i];\n    w += a[i] * ((i * 37 + 11) % 101);\n  }\n",
    "sum": "  double s = 0;\n  for (int i = 0; i < LEN; i++) s += a[i];\n  return s;\n",
    "weighted": "  double s = 0;\n  for (int i = 0; i < LEN; i++) s += (double)a[i] * (i % 7 + 1);\n  return s;\n",
}
INTS = ("int", "unsigned")


def vector(h: Habits) -> bool:
    return h.storage == "vector"


def is_scalar(h: Habits, array: Array) -> bool:
    """Whether main keeps this array of one element as a variable."""
    return h.scalars and array.size == "1" and h.memory != "managed"


def passed(h: Habits, array: Array) -> str:
    """The array as a pointer."""
    if is_scalar(h, array):
        return "&" + array.name
    return f"{array.name}.data()" if vector(h) else array.name


def element(h: Habits, array: Array, index: str) -> str:
    return array.name if is_scalar(h, array) else f"{array.name}[{index}]"


def count(array: Array) -> str:
    """The number of elements, to be multiplied."""
    return f"({array.size})" if " + " in array.size or " - " in array.size else array.size


def arguments(spec: Spec, h: Habits) -> list[str]:
    """The lines of main that read n and the seed."""
    read = {"atoi": "atoi({})", "stoi": "std::stoi({})", "strtol": "(int)strtol({}, NULL, 10)"}[h.reader]
    size, seed = read.format("argv[1]"), read.format("argv[2]")
    if h.language == "c++":
        size, seed = size.replace("NULL", "nullptr"), seed.replace("NULL", "nullptr")
    lines = [f"  int n = argc > 1 ? {size} : {spec.default_n};"]
    number = f"argc > 2 ? {seed} : 1"
    if h.arguments == "stepwise":
        lines = [f"  int n = {spec.default_n};", f"  if (argc > 1) n = {size};"]
    elif h.arguments in ("usage", "strict"):
        least = 2 if h.arguments == "usage" else 3
        asked = "<n> [seed]" if h.arguments == "usage" else "<n> <seed>"
        lines = [f"  if (argc {'<' if h.arguments == 'usage' else '!='} {least}) {{", f"    {complain(h, asked)}", "    return 1;", "  }",
                 f"  {'const ' if h.reader == 'strtol' else ''}int n = {size};"]  # fmt: skip
        number = number if h.arguments == "usage" else seed
    lines += [f"  int m = {spec.columns};"] if spec.columns else []
    return lines + ["  " + SEEDS[h.source].format(number)]


def complain(h: Habits, asked: str) -> str:
    if h.language == "c++":
        return f'std::cerr << "Usage: " << argv[0] << " {asked}" << std::endl;'
    return f'fprintf(stderr, "Usage: %s {asked}\\n", argv[0]);'


def declare(spec: Spec, h: Habits) -> list[str]:
    """The lines that make the host arrays; those that nothing fills are zero."""
    lines, groups = [], {}
    for a in spec.arrays():
        if is_scalar(h, a):
            lines.append(f"  {a.ctype} {a.name} = 0;")
        elif vector(h) and h.grouped:
            groups.setdefault(a.ctype, []).append(f"{a.name}({a.size})")
        elif vector(h):
            lines.append(f"  std::vector<{a.ctype}> {a.name}({a.size}{'' if filled(a) else ', 0'});")
        elif h.storage == "new":
            lines.append(f"  {a.ctype} *{a.name} = new {a.ctype}[{a.size}]{'' if filled(a) else '()'};")
        else:
            call = f"malloc({count(a)} * sizeof({a.ctype}))" if filled(a) else f"calloc({a.size}, sizeof({a.ctype}))"
            lines.append(f"  {a.ctype} *{a.name} = ({a.ctype} *){call};")
    return [f"  std::vector<{ctype}> {', '.join(names)};" for ctype, names in groups.items()] + lines


def filled(array: Array) -> bool:
    return array.init.startswith(("value:", "ramp:"))


def fill(spec: Spec, h: Habits) -> list[str]:
    """The lines that give arrays their values, in the same order whatever the storage."""
    lines: list[str] = []
    open_size = ""
    for k, a in enumerate(spec.arrays()):
        kind, _, value = a.init.partition(":")
        if kind == "ramp":
            lines.append(f"  for (int i = 0; i <= n; i++) {a.name}[i] = i * {value} - i % {value};")
            open_size = ""
        elif kind == "value" and is_scalar(h, a):
            lines.append(f"  {a.name} = {_value(h, value, k).replace('(i ', '(3 ')};")
        elif kind == "value":
            row = f"{a.name}[i] = {_value(h, value, k)};"
            if h.grouped and open_size == a.size:
                lines[-1:] = ["    " + row, "  }"]
                continue
            loop = f"  for (int i = 0; i < {a.size}; i++)"
            if h.grouped:
                lines += [loop + " {", "    " + row, "  }"]
            elif vector(h) and h.source != "formula":
                lines.append(f"  for (auto &v : {a.name}) v = {_value(h, value, k)};")
            else:
                lines.append(f"{loop} {row}")
            open_size = a.size if h.grouped else ""
    return lines


def _value(h: Habits, value: str, k: int) -> str:
    formula = f"((i * {37 + 12 * k}LL + {5 + k} * seed) % {(1009, 997, 757)[k % 3]}) / {(1009, 997, 757)[k % 3]}.0"
    called = f"{h.random}()" if h.source != "formula" else formula
    if h.source == "formula" and value != "rnd()":
        called = f"({called})"
    return value.replace("rnd()", called)


def summary(spec: Spec, h: Habits, reported: list[Array]) -> str:
    """The functions that main's output calls, one for each type of element where the language has no templates."""
    if h.report not in SUMMARY or all(is_scalar(h, a) for a in reported):
        return ""
    types = list(dict.fromkeys(a.ctype for a in reported if not is_scalar(h, a)))
    template = "template <class T> " if h.language != "c" and (len(types) > 1 or h.scalars) else ""
    return "".join(_summary(h, "T" if template else t, template) + "\n" for t in (types[:1] if template else types))


def _summary(h: Habits, ctype: str, template: str) -> str:
    given = f"const std::vector<{ctype}> &a" if vector(h) else f"const {ctype} *a, int len_a"
    length = "a.size()" if vector(h) else "len_a"
    text = SUMMARY[h.report].replace("LEN", length)
    if h.report == "three":
        text = text.replace("size_t i", "size_t i" if vector(h) else "int i")
        text += "  " + say(h, "%s", [("s", True), ("w", True), (f"(double)a[{length} / 2]", True)], "name") + "\n"
        return f"{template}{'static ' if not template else ''}void {_name(h, ctype)}(const char *name, {given}) {{\n{text}}}\n"
    text = text if not vector(h) else text.replace("int i", "size_t i")
    return f"{template}{'static ' if not template else ''}double {_name(h, ctype)}({given}) {{\n{text}}}\n"


def _name(h: Habits, ctype: str) -> str:
    return f"{h.summary}_{ctype}" if h.language == "c" and ctype in INTS else h.summary


def output(spec: Spec, h: Habits, reported: list[Array]) -> list[str]:
    """The lines of main that print."""
    lines = []
    for a in reported:
        label = h.label.format(a.name)
        if is_scalar(h, a) or a.size == "1":
            lines.append("  " + say(h, label, [(element(h, a, "0"), a.ctype not in INTS)]))
            continue
        given = a.name if vector(h) else f"{a.name}, {a.size}"
        if h.report == "three":
            lines.append(f'  {_name(h, a.ctype)}("{a.name}", {given});')
        elif h.report in SUMMARY:
            lines.append("  " + say(h, label, [(f"{_name(h, a.ctype)}({given})", True)]))
        else:
            lines += _inline(h, a, label)
    first = next((k for k, line in enumerate(lines) if line == "  sum = 0;"), None)
    return lines if first is None else [*lines[:first], "  double sum = 0;", *lines[first + 1 :]]


def _inline(h: Habits, a: Array, label: str) -> list[str]:
    real, size, whole = a.ctype not in INTS, a.size, count(a)
    lines = ["  sum = 0;", f"  for (int i = 0; i < {size}; i++) sum += {a.name}[i];"]
    if h.report == "elements":
        shown = say(h, a.name, [(f"{a.name}[i]", real)], index="i")
        return [f"  for (int i = 0; i < 5 && i < {size}; i++)", "    " + shown, *lines, "  " + say(h, label, [("sum", True)])]
    if h.report == "ends":
        ends = [(f"{a.name}[0]", real), (f"{a.name}[{whole} / 2]", real), (f"{a.name}[{size} - 1]", real)]
        return [*lines, "  " + say(h, label, [("sum", True), *ends])]
    low, high = f"{a.ctype} low = {a.name}[0], high = {a.name}[0];", f"if ({a.name}[i] < low) low = {a.name}[i];"
    loop = [f"    for (int i = 1; i < {size}; i++) {{", f"      {high}", f"      if ({a.name}[i] > high) high = {a.name}[i];", "    }"]
    shown = [(f"sum / ({size})", True), ("low", real), ("high", real)]
    return [*lines, "  {", f"    {low}", *loop, "    " + say(h, label, shown), "  }"]


def say(h: Habits, label: str, values: list[tuple[str, bool]], name: str = "", index: str = "") -> str:
    """One printing statement: a label (or the string `name`), and values with whether each is a real number."""
    if h.language == "c++":
        head = f"{name} << \" \"" if name else f"\"{label}{'[' if index else ' '}\""
        head += f" << {index} << \"] = \"" if index else ""
        end = "std::endl" if h.before else '"\\n"'
        return f"std::cout << {head} << " + ' << " " << '.join(_shown(v) for v, _ in values) + f" << {end};"
    forms = " ".join(h.real if real else "%d" for _, real in values)
    head = label + ("[%d] =" if index else "")
    given = [x for x in (name, index) if x] + [v for v, _ in values]
    return f'printf("{head} {forms}\\n", {", ".join(given)});'


def _shown(value: str) -> str:
    return f"({value})" if re.search(r" [/*+<-] ", value) else value


def precision(h: Habits) -> list[str]:
    """How a stream shows numbers, set once."""
    digits = re.search(r"\.(\d+)", h.real)
    number = digits[1] if digits else "6"
    form = {"e": "std::cout << std::scientific << std::setprecision({});", "f": "std::cout << std::fixed << std::setprecision({});",
            "g": "std::cout.precision({});"}[h.real[-1]]  # fmt: skip
    return ["  " + form.format(number)] if h.language == "c++" else []


def free(spec: Spec, h: Habits) -> list[str]:
    form = {"vector": "", "malloc": "  free({});", "new": "  delete[] {};"}[h.storage]
    return [form.format(a.name) for a in spec.arrays() if form and not is_scalar(h, a)]
