"""Programs with one of many threads alone, or none: who is told by it, and which programs it is not used on."""

from dataclasses import replace
from pathlib import Path

import pytest
from programs import (
    OMP,
    SERIAL,
    TASK,
    sandboxed,
)

from parallax_lib.sandbox import sandbox
from parallax_lib.sandbox.sandbox import Limits
from parallax_lib.tasks import suites
from parallax_lib.tasks.task import Kernel, Task
from parallax_lib.verdict import build, other_ways, serialised_control, stages, toolchain, validate

pytestmark = [sandboxed, pytest.mark.usefixtures("references_once", "unadmitted")]
BODY = "  for (int i = 0; i < n; i++) s += x[i];\n"
SUM = "  for (int i = 0; i < n; i++) s += y[i];\n"
COPY = "for (int i = 0; i < n; i++) y[i] = x[i];"
JUNK = "{ volatile double v = 1; for (int i = 0; i < n; i++) v = v * 0.5 + 1; }"
QUEUE = "  for (int i; (i = next.fetch_add(1)) < n;) y[i] = x[i];\n"


def program(region, head=""):
    """The sum of an array that `region` copies first."""
    made = SERIAL.replace(BODY, f"  static double y[2000001];\n{region}\n{SUM}")
    return f"#include <omp.h>\n{head}{made}"


def alone(who):
    return program(f"#pragma omp parallel\n  if ({who}) {COPY} else {JUNK}")


STATIC = program(f"#pragma omp parallel for\n  {COPY}")
BY_NUMBER = program(
    "#pragma omp parallel\n  {\n    long t = omp_get_thread_num(), m = omp_get_num_threads();\n#pragma omp single\n    y[0] = 0;\n"
    "    for (long i = n * t / m; i < n * (t + 1) / m; i++) y[i] = x[i];\n  }"
)
SMALL_SERIAL = program(f"#pragma omp parallel for if (n > 1000)\n  {COPY}")
NESTED = program(
    "  omp_set_max_active_levels(2);\n#pragma omp parallel num_threads(2)\n  if (omp_get_thread_num() == 0) {\n"
    f"#pragma omp parallel for\n  {COPY}\n  }}"
)
SHARED_OTHERWISE = {
    "dynamic": program(f"#pragma omp parallel for schedule(dynamic, 512)\n  {COPY}"),
    "queue": program("  std::atomic<int> next{0};\n#pragma omp parallel\n" + QUEUE, "#include <atomic>\n"),
    "tasks": program(f"#pragma omp parallel\n#pragma omp single\n#pragma omp taskloop\n  {COPY}"),
    "reduction": OMP,
    "critical": program(f"#pragma omp parallel\n  {{\n#pragma omp critical\n    y[0] = 0;\n#pragma omp for\n    {COPY}\n  }}"),
}


COPIES = Task(replace(TASK.kernel, sources={"serial": program(f"  {COPY}"), "omp": STATIC}), "serial", "omp")  # what is shared is the copy


def judge(code):
    return validate.judge(code, COPIES, toolchain.detect(), sandbox.probe(), Limits(cpu_s=4, memory_mb=512))


def switches(code):
    tools = toolchain.detect()["omp"]
    built = build.build(code, tools, (), sandbox.probe())
    assert built.reason == "ok", built.log
    return set(serialised_control.switches(tools, built.symbols))


@pytest.mark.parametrize("who, said", [("omp_get_thread_num() == 0", "first of 256"),
                                       ("omp_get_thread_num() == omp_get_num_threads() - 1", "last of 256")])  # fmt: skip
def test_one_thread_that_does_it_all_beside_busy_ones_is_told(who, said):
    verdict = judge(alone(who))
    assert (verdict.level, verdict.reason, verdict.parallel) == (4, "not_parallel", "no"), verdict
    assert said in verdict.log or "one thread does all the work" in verdict.log, verdict  # on a crowded machine the counters tell it first


@pytest.mark.parametrize("code", [STATIC, BY_NUMBER, SMALL_SERIAL, NESTED], ids=["static", "by number", "small ones serial", "nested"])
def test_work_shared_by_thread_numbers_needs_every_thread(code):
    assert switches(code) == {"", "first", "last"}
    verdict = judge(code)
    assert verdict.validated, verdict


@pytest.mark.parametrize("name", SHARED_OTHERWISE)
def test_what_any_thread_may_take_is_not_run_with_one_alone(name):
    assert switches(SHARED_OTHERWISE[name]) == {""}


def test_what_was_built_last_is_not_built_again(monkeypatch):
    tools, level = toolchain.detect()["serial"], sandbox.probe()
    once = build.build(SERIAL, tools, (), level)
    monkeypatch.setattr(sandbox, "run", lambda *args, **more: pytest.fail("it was built again"))
    assert build.build(SERIAL, tools, (), level) is once


# ---- CUDA on a GPU: kernels off there, one thread alone on the emulator -----------------------------------------------

SAXPY = next(k for k in suites.read_folder(suites.MINIBENCH, "minibench") if k.name == "saxpy")
SAXPY = replace(SAXPY, hidden_args=(("120007", "7"), ("90001", "13"), ("777", "29")))  # emulated, its own sizes take seconds
CHEATS = Path(__file__).parent / "redteam" / "cheats"


@pytest.fixture
def as_if_gpu(monkeypatch):
    """judge(code) with a CUDA toolchain that says it is a GPU's, whose programs the emulator makes all the same."""
    tools = toolchain.detect("emulated")
    tools = tools | {"cuda": replace(tools["cuda"], emulated=False, gate=(), version="pretended")}

    def made(code, tool, *more):
        return build.build(code, replace(tool, emulated=True) if tool.api == "cuda" else tool, *more)

    for module in (stages, other_ways):
        monkeypatch.setattr(module, "build", made)
    monkeypatch.setattr(toolchain, "gpu_name", lambda: "")
    return lambda code: validate.judge(code, Task(SAXPY, "serial", "cuda"), tools, sandbox.probe(), Limits(cpu_s=6, memory_mb=1024))


@pytest.mark.parametrize(
    "name, said",
    [
        ("cuda_junk_kernel_host_computes", "with its kernels switched off"),
        ("cuda_host_function_in_stream", "with its kernels switched off"),
        ("cuda_thread_zero", "emulated, with the first thread of every launch alone"),
        ("cuda_last_thread", "emulated, with the last thread of every launch alone"),
    ],
)
def test_a_gpus_program_is_told_by_what_its_kernels_do(as_if_gpu, name, said):
    verdict = as_if_gpu((CHEATS / f"{name}.cu").read_text())
    assert (verdict.level, verdict.reason) == (4, "not_parallel") and verdict.log.startswith(said), verdict


def test_a_right_program_of_a_gpu_says_where_one_thread_was_looked_at(as_if_gpu, monkeypatch):
    verdict = as_if_gpu(SAXPY.sources["cuda"])
    assert verdict.validated and verdict.checked.endswith("one thread of every launch alone: as the emulator shows it"), verdict
    only_gpu, broken = other_ways.build, replace(toolchain.detect("emulated")["cuda"], compiler="/bin/false")
    monkeypatch.setattr(other_ways, "emulator", lambda: broken)
    monkeypatch.setattr(other_ways, "build", lambda code, tool, *more: (build.build if tool is broken else only_gpu)(code, tool, *more))
    verdict = as_if_gpu(SAXPY.sources["cuda"])
    assert verdict.validated and verdict.checked.endswith("not checked, the emulator does not take the program"), verdict


# ---- a check that a NaN passes ----------------------------------------------------------------------------------------

CHECKS_ITSELF = """#include <cmath>
#include <cstdio>
#include <vector>
CUDA
int main() {
  const int n = 5000;
  std::vector<double> a(n);
  WORK
  bool wrong = false;
  for (int i = 0; i < n; i++) wrong = wrong || fabs(a[i] - 0.5 * i) > 1e-6;
  puts(wrong ? "FAIL" : "PASS");
}
"""
HALVES = {
    "serial": ("", "for (int i = 0; i < n; i++) a[i] = 0.5 * i;"),
    "cuda": (
        "#include <cuda_runtime.h>\n"
        "__global__ void half(double *a, int n) { int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) a[i] = 0.5 * i; }",
        "double *d; cudaMalloc(&d, n * 8); half<<<20, 256>>>(d, LAST);"
        " cudaMemcpy(a.data(), d, n * 8, cudaMemcpyDeviceToHost); cudaFree(d); AFTER",
    ),
}


def checked_halves(api, last="n", after=""):
    cuda, work = HALVES[api]
    text = CHECKS_ITSELF.replace("CUDA", cuda).replace("WORK", work)
    return text.replace("LAST", last).replace("AFTER", after)


@pytest.mark.parametrize(
    "change, reason",
    [
        ({}, "ok"),
        ({"after": "for (int i = 0; i < n; i++) a[i] = 0.5 * i;"}, "not_parallel"),
        ({"last": "n - 1"}, "nondeterministic"),  # one element that nobody wrote: NaN in the first schedule
    ],
)
def test_a_self_check_that_nan_passes_is_no_reason_to_say_that_kernels_do_nothing(change, reason):
    sources = {"serial": checked_halves("serial"), "cuda": checked_halves("cuda")}
    kernel = Kernel("halves", "halves", "hand", sources, (), ((),), oracle="own", strength="weak")
    bench = toolchain.detect("emulated"), sandbox.probe(), Limits(cpu_s=6, memory_mb=1024)
    verdict = validate.judge(checked_halves("cuda", **change), Task(kernel, "serial", "cuda"), *bench)
    assert verdict.reason == reason, verdict
