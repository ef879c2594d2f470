"""Reads a Makefile for its sources, flags and run lines.  It is text here: nothing of it is ever executed.

Knows variables, conditionals, rules and continuations of the plain Makefiles that benchmark suites use.  Knows no
functions ($(shell ...), $(wildcard ...) and the like give nothing), no pattern rules, no built-in rules.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import PurePosixPath

ASSIGN = re.compile(r"^\s*(?:export\s+|override\s+)?([\w.-]+)\s*(\?=|\+=|::?=|=)\s*(.*?)\s*$")
CONDITION = re.compile(r"^\s*(ifeq|ifneq|ifdef|ifndef|else|endif)\b\s*(.*?)\s*$")
RULE = re.compile(r"^([^\s:=#][^:=]*):(?!=)")
REFERENCE = re.compile(r"\$(?:\(([^()$]*)\)|\{([^{}$]*)\}|(\w))")
STOP = re.compile(r"(?<!\S)(?:\d?>>?|<|\||\|\||&&|;)|;(?=\s|$)|&$")  # what follows is the shell's, not the program's
SOURCES = ("source", "sources", "SOURCES", "SOURCE", "SRC", "SRCS", "src", "source_c", "c_source", "omp_source",
           "cpp_source", "cpp_src", "c_src", "cuda_source", "cuda_src")  # fmt: skip
OBJECTS = ("obj", "objs", "OBJ", "OBJS", "objects", "OBJECTS")
FLAG_VARIABLES = ("CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "LIBS", "KERNEL_DIM")
UNIT = (".cpp", ".cc", ".cxx", ".c", ".cu")
ALLOWED_FLAG = re.compile(
    r"-std=(?:c|gnu)\+\+(?:11|14|17|20)|-lm|-lpthread|-pthread|-D[A-Za-z_]\w*(?:=[\w.+-]*)?|-I\S+"
    r"|--expt-relaxed-constexpr|--(?:expt-)?extended-lambda|-lcu(?:blas|blasLt|sparse|solver|rand|fft)"  # nvcc's
)


@dataclass(frozen=True)
class Makefile:
    """sources: translation units as written; flags: the allowed ones; runs: arguments of each run line, in order.

    objects: stems of the object files that are linked, where no variable names their sources: of a variable, else what the first rule
    that needs some needs, by name.
    compiled: stem of an object file -> the unit that its rule names first.
    """

    sources: tuple[str, ...]
    flags: tuple[str, ...]
    runs: tuple[tuple[str, ...], ...]
    objects: tuple[str, ...] = ()
    compiled: dict[str, str] = field(default_factory=dict)


def read(text: str, given: dict[str, str]) -> Makefile:
    """What `text` says with the command-line variables `given` (DEVICE=cpu, ...), which no assignment overrides."""
    variables, recipe, rules = _evaluate(text, given)
    sources = [w for name in SOURCES for w in _expand(variables.get(name, ""), variables).split()]
    flags = [w for name in FLAG_VARIABLES for w in _split(_expand(variables.get(name, ""), variables))]
    units = tuple(dict.fromkeys(str(PurePosixPath(w)) for w in sources if w.endswith(UNIT)))
    allowed = tuple(dict.fromkeys(f for f in flags if ALLOWED_FLAG.fullmatch(f)))
    objects = [w for name in OBJECTS for w in _expand(variables.get(name, ""), variables).split() if w.endswith(".o")]
    objects = objects or _linked(rules, variables)
    stems = tuple(dict.fromkeys(str(PurePosixPath(w).with_suffix("")) for w in objects))
    compiled = {} if units else dict(_compiled(rules, variables))
    return Makefile(units, allowed, tuple(_runs(recipe, variables)), () if units else stems, compiled)


def _linked(rules: list[tuple[str, str]], variables: dict[str, str]) -> list[str]:
    """The object files and units that the first rule with object files needs, in the order of their names."""
    needed = ([word for word in _expand(names, variables).split() if "%" not in word] for _, names in rules)
    words = next((words for words in needed if any(word.endswith(".o") for word in words)), [])
    return sorted(str(PurePosixPath(word)) for word in words if word.endswith((".o", *UNIT)))


def _compiled(rules: list[tuple[str, str]], variables: dict[str, str]):
    """(stem of an object file, the unit that its rule names first) of each rule for one."""
    for targets, needed in rules:
        unit = next((word for word in _expand(needed, variables).split() if word.endswith(UNIT)), "")
        for target in _expand(targets, variables).split() if unit else ():
            if target.endswith(".o") and "%" not in target + unit:
                yield str(PurePosixPath(target).with_suffix("")), str(PurePosixPath(unit))


def _evaluate(text: str, given: dict[str, str]) -> tuple[dict[str, str], list[str], list[tuple[str, str]]]:
    """The variables at the end of the file, the recipe lines of `run`, and each rule's (targets, what they need)."""
    variables, recipe, rules, active, in_run = dict(given), [], [], [], False
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if line.startswith("\t"):
            if in_run and all(active):
                recipe.append(line)
                continue
            if not ASSIGN.match(line):
                continue
        line = re.sub(r"(?<!\\)#.*", "", line)
        condition = CONDITION.match(line)
        if condition:
            _branch(condition, active, variables)
        elif all(active) and (assigned := ASSIGN.match(line)):
            if assigned[1] not in given:
                _assign(*assigned.groups(), variables)
        elif all(active) and (rule := RULE.match(line)):
            in_run = "run" in _expand(rule[1], variables).split()
            rules.append((rule[1], line[rule.end() :]))
    return variables, recipe, rules


def _branch(found: re.Match, active: list[bool | None], variables: dict[str, str]) -> None:
    """Each level of `active`: True in the branch that is taken, False before it, None after it."""
    word, rest = found.groups()
    if word == "endif":
        del active[-1:]
    elif word != "else":
        active.append(_holds(word, rest, variables))
    elif active:
        more = CONDITION.match(rest)  # else ifeq ...
        active[-1] = None if active[-1] is not False else more is None or _holds(*more.groups(), variables)


def _holds(word: str, rest: str, variables: dict[str, str]) -> bool:
    if word in ("ifdef", "ifndef"):
        return bool(variables.get(rest)) == (word == "ifdef")
    return _equal(rest, variables) == (word == "ifeq")


def _equal(text: str, variables: dict[str, str]) -> bool:
    text = _expand(text, variables).strip()
    pair = text[1:-1].split(",", 1) if text.startswith("(") else re.findall(r"\"([^\"]*)\"|'([^']*)'", text)
    sides = ["".join(side).strip() for side in pair]
    return len(sides) == 2 and sides[0] == sides[1]


def _assign(name: str, how: str, value: str, variables: dict[str, str]) -> None:
    if how == "+=":
        variables[name] = f"{variables.get(name, '')} {value}".strip()
    elif how != "?=" or name not in variables:
        variables[name] = _expand(value, variables) if ":" in how else value


def _expand(text: str, variables: dict[str, str], depth: int = 8) -> str:
    for _ in range(depth):
        text, found = REFERENCE.subn(lambda m: _value(m[1] or m[2] or m[3] or "", variables), text)
        if not found:
            break
    return text


def _value(name: str, variables: dict[str, str]) -> str:
    suffix = re.fullmatch(r"([\w.-]+):(\S+?)=(\S*)", name)
    if suffix:
        words = _expand(variables.get(suffix[1], ""), variables, 4).split()
        return " ".join(w.removesuffix(suffix[2].lstrip("%")) + suffix[3].lstrip("%") for w in words)
    return variables.get(name.strip(), "")


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return []


def _runs(recipe: list[str], variables: dict[str, str]):
    for line in recipe:
        words = STOP.split(_expand(line.strip().lstrip("@-"), variables).strip(), maxsplit=1)[0].strip()
        if words.startswith("./"):
            yield tuple(_split(words)[1:])
