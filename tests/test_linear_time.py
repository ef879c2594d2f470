"""Whatever a model or a program writes is read in time linear in its length: every reader, every bad text, counted.

Lines of Python are counted at two lengths.  What one call of a regular expression does cannot be counted: for that, longer texts are read
in a child process, and how CPU time grows with the text decides.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from parallax_lib.core import cpp_text
from parallax_lib.cuda_emulation import rewrite
from parallax_lib.sandbox.sandbox import Outcome
from parallax_lib.tasks import extraction, main_function
from parallax_lib.tasks.hecbench import sources
from parallax_lib.verdict import build, build_ends, output_comparison, races, reference, serialised_control, static_checks, toolchain, ways
from parallax_lib.verdict.assurance import mutation

OUTCOME = Outcome("ok", 0, "", "", 0.0, 0.0, 0.0)
OMP = toolchain.Toolchain("omp", "/usr/bin/g++", "", (), True, True)


def built(text):
    return build.Built("ok", b"", text, text, text, OUTCOME)


def compared(text):
    lines = output_comparison.read_lines(f"v 1.5\n{text}")
    case = output_comparison.learn([lines, lines])
    return case if isinstance(case, str) else output_comparison.differs(case, [lines, output_comparison.read_lines(f"v 1.5\n{text} 2")])


READERS = {
    "extract": extraction.extract,
    "extract, fenced": lambda text: extraction.extract("```cpp\n" + text),
    "extract, no main": lambda text: extraction.extract(text, needs_main=False),
    "has_main": main_function.has_main,
    "tokenise": cpp_text.tokenise,
    "strings": cpp_text.strings,
    "without_comments": cpp_text.without_comments,
    "without_strings": cpp_text.without_strings,
    "logical_lines": lambda text: list(cpp_text.logical_lines(text)),
    "unfit": static_checks.unfit,
    "suspicion": lambda text: static_checks.suspicion(built(text), text),
    "suspicion, own lines": lambda text: static_checks.suspicion(build.Built("ok", b"", "", "", '# 1 "main.cpp"\n' + text, OUTCOME), text),
    "only asks": static_checks._only_asks,
    "has_target": ways.has_target,
    "may_be_c": lambda text: ways.may_be_c(text, OMP),
    "shares_memory": ways.shares_memory,
    "unused_api, omp": lambda text: build.unused_api(built(text), "omp", text),
    "unused_api, cuda": lambda text: build.unused_api(built("U __cudaRegisterFunction\n" + text), "cuda", text),
    "compiler's log": lambda text: build_ends.KILLED.search(text),
    "switches": lambda text: serialised_control.switches(OMP, text),
    "rewrite": rewrite.rewrite,
    "rewrite, device code": lambda text: rewrite.rewrite("__global__ void k(int *p) {\n" + text),
    "unsupported": rewrite.unsupported,
    "strip_omp": sources.strip_omp,
    "simt": sources.simt,
    "fixed_inputs": sources.fixed_inputs,
    "usage": sources.usage,
    "mutants": mutation.mutants,
    "sanitizer_says": lambda text: races.sanitizer_says("memcheck", "ok", text),
    "first_place": lambda text: races.first_place("WARNING: ThreadSanitizer: data race" + text),
    "visible": reference.visible,
    "printed lines": output_comparison.read_lines,
    "printed lines compared": lambda text: compared(text),
    "own_check": output_comparison.own_check,
    "strength": lambda text: output_comparison.strength([text], ()),
}
REPEATED = (
    "omp ", "#pragma omp ", "pragma omp requires ", "\n", " ", "\t\n", "\\\n", "\\ \n", "/*/", "/*", "*/ /*", "//\\\n", '"', "'",
    '"\'', '\\"', '"\\', '"" ', 'R"(', 'R"a(', ')a"R"a(', "<<<", ">>>", "f<<<1>>>", ">>><<<", "(f<<<1>>>", ")><<<", "f<<<", "(",
    "[", "{", "((x)", "){", "}", "){ }", "(;*)", "a[", "a[0]=if(x)", "__global__ ", "__global__ x() ", "__global__ x(",
    "__device__ ", "__device__ f(", "__device__ a } ", "__shared__ ", "__shared__ int a, ", "namespace {", "else ", "do ",
    "* else ", "; ++ else ", "if (x) ", "for (", "for (a; b; c) ", "if (", "atomicAdd(", "cudaMemcpy(", "x = y; ", "a + b ",
    "if (a < b) c[i] = 1;\n", "```\n", "```cpp\n", "```\n/*\n```\n", "``` ", "`", "~~~\n", "> ", "- ```", "<think>", "</think>",
    "<code>", "<|", "int main(", "main() ", "int ", "a::", "#include <", "#include < . ", '#include "', "# include\n", '# 1 "',
    '# 1 "a"\n', "syscall (", "syscall(186);", "__attribute__((", "[[ifunc(", "cudaLaunch", "Kernel", "cudaLaunchKernel",
    '_Pragma("omp ', "usage ", "usage <", "<a>", 'fopen("', 'open("a", ', "ifstream a ", "U GOMP_", " U x\n", "0 T omp_x\n", "0 i x\n",
    "@section .", "reduction(", "reduction(()", "map(", "error: ", "WARNING: ThreadSanitizer: data race ", "main.cpp:", "1'",
    "asm(", "\x1b[0m", "\ufeff", "é", "0.840180", "7", "1 ", "1,", ",234", "1'234", "a1", "1a", ".", "-1", "1.1.", "0x1", "1e", "3x",
    "\x1b[1;", "a 1%\r", "error ", "5 s ", "5 ms 7 ", "time 5.5 ", "min 5.5 ms ", "2024-01-15 ", "12:34:56", "Jan 1 ", "1.5+100", "a1.5",
    "5 ab/s ", "nan ", "w 1\n", "1\n", "w 1.5\n", "5 of 10 failed ",
)  # fmt: skip
SHORT, LONG = 400, 25_000  # characters
GROWTH = 2.6  # of the work when the text is twice as long; 4 for quadratic work
LITTLE_MORE = 2.3  # times the CPU time for twice the text: 2 for linear work, 4 for quadratic
SIXTEENFOLD = 48  # times the CPU time for sixteen times the text: 16 for linear work, 256 for quadratic
TRIES = 8
LIMIT_S = 0.6  # CPU time of one reader on LONG characters; the slowest takes 0.15 s, and quadratic expressions take from 0.8 s on


def lines_of(function, text) -> int:
    """How many lines of this project's Python run."""
    counted = 0

    def line(frame, event, argument):
        nonlocal counted
        counted += event == "line"
        return line

    def call(frame, event, argument):
        return line if "parallax_lib" in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        function(text)
    finally:
        sys.settrace(before)
    return counted


@pytest.mark.slow
def test_twice_the_text_is_twice_the_work():
    for name, reader in READERS.items():
        reader("int main() { }")  # what is done once
        for unit in REPEATED:
            short = unit * (SHORT // len(unit))
            once, twice = lines_of(reader, short), lines_of(reader, short + short)
            assert twice <= GROWTH * once + 200, (name, unit, once, twice)


def test_the_count_finds_quadratic_work():
    def quadratic(text):
        return [main_function.has_main("") for i in range(len(text)) for _ in range(i // 100)]

    assert lines_of(quadratic, "x" * 2 * SHORT) > GROWTH * lines_of(quadratic, "x" * SHORT) + 200


CHILD = """
import re, signal, sys, time
import test_linear_time as t

def stop(*_):
    raise TimeoutError

def seconds(reader, unit, part):
    begun = time.process_time()
    reader(unit * (t.LONG // part // len(unit)))
    return time.process_time() - begun

def quick(reader, unit):
    for part in (4, 2, 1):
        took = seconds(reader, unit, part)
        if took < t.LIMIT_S / part**3:
            break
        if part == 4 and took < t.LIMIT_S / 16 and took < t.LITTLE_MORE * seconds(reader, unit, 8):
            break
    return True

def within(limit, reads):
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, limit)
        try:
            return reads()
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except TimeoutError:
        return False

def linear(reader, unit):
    most = t.SIXTEENFOLD * seconds(reader, unit, 16)
    return within(max(most, t.LIMIT_S), lambda: seconds(reader, unit, 1) < most)

signal.signal(signal.SIGVTALRM, stop)
for name, reader in [("control", lambda text: re.search(r"^\\s*#", text, re.M)), *t.READERS.items()]:
    for unit in t.REPEATED:
        if within(t.LIMIT_S, lambda: quick(reader, unit)) or any(linear(reader, unit) for _ in range(t.TRIES)):
            continue
        print(f"{name} {unit!r}", flush=True)
        if name == "control":
            break
"""


@pytest.mark.slow
def test_long_texts_grow_linearly_in_cpu_time():
    """One that is known to be quadratic is found; no other is.

    A quarter of the text comes first, then half: what reads those in a 64th and an eighth of the limit reads all of it within the limit,
    even in cubic time.  So does what reads a quarter in a 16th of the limit and in 2.3 times the time of an eighth at most: linear and
    cubic work together take 0.53 s for all of it then.

    The limit decides nothing, because a machine can be slow: what exceeds it is read again, a sixteenth and all of it by turns.
    Quadratic work takes 256 times as long for all of it and linear work 16 times; it has to be over 48 times in each of eight turns.
    """
    here = Path(__file__).parent
    env = {**os.environ, "PYTHONPATH": f"{here.parent}{os.pathsep}{here}"}
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=3000, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [r"control '\n'"]
