"""Programs beside their source program on made inputs, by the real compiler in the real sandbox."""

from dataclasses import replace

import numpy as np
import pytest
from programs import HIDDEN, KERNEL, OMP, RACY, SERIAL, sandboxed

from parallax_lib.core.storage import Journal
from parallax_lib.sandbox import sandbox
from parallax_lib.sandbox.sandbox import Limits
from parallax_lib.tasks.task import Task, drawn
from parallax_lib.verdict import batch, reference, source_output, toolchain

pytestmark = pytest.mark.usefixtures("unadmitted")

DRAW = 5
VARIED = replace(KERNEL, varies=("size", "seed"))
SERIAL_OMP = Task(VARIED, "serial", "omp")


def hidden_table(task):
    """A program that knows the hidden inputs' answers by heart, and is wrong on every other input."""
    wrong = OMP.replace("total(n, x));", "(known(n, argv[2]) ? 1 : 2) * total(n, x));")
    known = " || ".join(f'(n == {n} && !strcmp(s, "{s}"))' for n, s in drawn(task.kernel, DRAW).hidden_args)
    return "#include <string.h>\nstatic int known(int n, const char *s) { return " + known + "; }\n" + wrong


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    return Journal(tmp_path_factory.mktemp("agreement") / "journal.db")


def agree(items, journal):
    limits = Limits(cpu_s=4, wall_s=40, memory_mb=512)
    return batch.agree_many(items, toolchain.detect("auto"), sandbox.probe(), limits, journal, draw=DRAW)


def test_made_inputs_are_of_the_hidden_ones_kind_and_none_of_them():
    [(cases, origin)] = source_output.made_inputs(VARIED, DRAW)
    hidden = drawn(VARIED, DRAW).hidden_args
    assert origin == "drawn" and len(cases) == 3 and not set(cases) & set(hidden) and not set(cases) & set(HIDDEN)
    assert [len(case[0]) for case in cases] == [len(case[0]) for case in hidden]
    assert source_output.made_inputs(KERNEL, DRAW) == [((("10", "1"),), "public")]
    fixed = source_output.made_inputs(replace(KERNEL, public_args=("64", "3", "x8"), hidden_args=(("64", "3", "x8"),)), DRAW)
    assert fixed == [((("32", "3", "x8"),), "halved"), ((("64", "3", "x8"),), "as hidden")]


@sandboxed
def test_a_program_agrees_if_it_prints_what_the_source_prints_on_made_inputs(journal, monkeypatch):
    unparallel = SERIAL  # what a verdict also asks is not asked here
    other = OMP.replace("double s = 0", "double s = 1")
    broken = OMP.replace("return s;", "return s")
    crash = OMP.replace("double s = 0", "double s = 0; abort()")
    programs = [OMP, hidden_table(SERIAL_OMP), other, unparallel, broken, crash, RACY, OMP]
    found = agree([(code, SERIAL_OMP) for code in programs], journal)
    assert [each.agrees for each in found] == [1, 0, 0, 1, 0, 0, 0, 1]
    assert [each.agree_reason for each in found[:6]] == ["ok", "wrong_output", "wrong_output", "ok", "compile_error", "crash"]
    printed = [each.printed for each in found]
    assert printed[0] == printed[3] and len({*printed[:3]}) == 3 and printed[4:6] == ["", ""]
    assert found[0] == found[7] and {each.made_inputs for each in found} == {"drawn"}
    monkeypatch.setattr(source_output, "_observed", None)  # nothing is compiled or run again
    monkeypatch.setattr(reference, "_make", None)
    assert agree([(code, SERIAL_OMP) for code in programs], journal) == found


@sandboxed
def test_where_the_source_says_nothing_nobody_knows_whether_a_program_agrees(journal):
    silent = Task(replace(VARIED, sources={"serial": SERIAL.replace("printf(", "if (n < 0) printf("), "omp": OMP}), "serial", "omp")
    crashed = Task(replace(VARIED, sources={"serial": SERIAL.replace("return 0;", "abort();"), "omp": OMP}), "serial", "omp")
    found = agree([(OMP, silent), (OMP, crashed)], journal)
    assert all(np.isnan(each.agrees) and each.printed == "" for each in found)
    assert [each.agree_reason for each in found] == ["not_checkable", "infra_error"]


@sandboxed
def test_the_source_alone_is_what_is_right(journal):
    """The kernel's other programs, and what the suite says is printed, are not looked at."""
    kernel = replace(VARIED, sources={"omp": OMP, "serial": SERIAL.replace("double s = 0", "double s = 1"), "cuda": "int"})
    assert [each.agrees for each in agree([(OMP, Task(kernel, "omp", "serial")), (OMP, Task(kernel, "serial", "omp"))], journal)] == [1, 0]


@sandboxed
@pytest.mark.parametrize(("guard", "origin"), [
    ("", "halved"),
    ("if (n != 64) abort();", "as hidden"),  # the source does not run on another size
    ("n = 64;", "as hidden"),  # another size changes nothing
])  # fmt: skip
def test_fixed_inputs_are_halved_where_the_source_runs_so_and_prints_something_else(journal, guard, origin):
    with_guard = [code.replace("unsigned state", f"{guard}\n  unsigned state") for code in (SERIAL, OMP)]
    kernel = replace(KERNEL, oracle="own", sources=dict(zip(("serial", "omp"), with_guard, strict=True)), public_args=("64", "3"))
    [found] = agree([(with_guard[1], Task(replace(kernel, hidden_args=(("64", "3"),)), "serial", "omp"))], journal)
    assert (found.agrees, found.made_inputs) == (1, origin)
