"""Target regions on a GPU: the stage with the x86_64 device in its place, the build with CUDA's tools, and a GPU for real."""

import shutil
from dataclasses import replace

import pytest
from programs import (
    KERNEL,
    OMP,
    SERIAL,
    TASK,
    first,
    sandboxed,
)

from parallax_lib.sandbox import sandbox
from parallax_lib.sandbox.sandbox import Limits
from parallax_lib.tasks.task import Task
from parallax_lib.verdict import build, llvm, offload, parallel_evidence, reference, timing, toolchain, validate, ways

LLVM = llvm.detect()
HOME = toolchain.cuda_home()
TOOLS = HOME is not None and all(shutil.which(str(HOME / "bin" / name)) for name in ("ptxas", "nvlink"))
needs_offload = pytest.mark.skipif(not LLVM.offload, reason="clang's x86_64 offload device is not installed")
needs_toolkit = pytest.mark.skipif(not TOOLS, reason="CUDA's ptxas and nvlink are not installed")
pytestmark = [sandboxed, needs_offload, pytest.mark.usefixtures("references_once", "unadmitted")]
LIMITS = Limits(cpu_s=10, memory_mb=4096)
LOOP = "  for (int i = 0; i < n; i++) s"
MAPS = "map(to : x[0 : n]) map(tofrom : s)"
TARGET = SERIAL.replace(LOOP, f"#pragma omp target teams distribute parallel for {MAPS} reduction(+ : s)\n" + LOOP)
SHARED = "#pragma omp requires unified_shared_memory\n"


@pytest.fixture(scope="module")
def bench():
    """The x86_64 device as if it were a GPU's: whatever is offloaded runs there or nowhere, and is counted."""
    tools = toolchain.detect("emulated")
    there = replace(tools["omp"], gpu=True, llvm=replace(LLVM, gpu=(llvm.OFFLOAD,)))
    return reference.Bench({**tools, "omp": replace(tools["omp"], offloaded=there)}, sandbox.probe(), LIMITS)


@pytest.fixture
def judge(bench):
    return lambda code, **stages: validate.judge(code, TASK, bench.toolchains, bench.level, LIMITS, **stages)


def test_a_right_program_says_where_it_ran(judge):
    verdict = judge(f"// {SHARED}{TARGET}")  # a comment asks for nothing
    assert verdict.reason == "ok" and ways.DEVICE in verdict.parallel_evidence, verdict
    assert verdict.checked.endswith(f"{ways.GPU}: 1 to 1 regions a run; CUPTI: not checked (not installed)")


MISBEHAVES = {  # what a program does where regions must not fall back to the host: reason, level
    "return 3;": ("crash", 2),
    "_Exit(0);": ("incomplete", 2),
    'puts("total 1");': ("wrong_output", 3),
    'static char other[] = "5"; argv[1] = other;': ("wrong_output", 4),
    "argv[1] = by_chance();": ("nondeterministic", 4),
}
BY_CHANCE = """#include <time.h>
static char *by_chance() {
  static char size[20];
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  snprintf(size, sizeof size, "%ld", 1000 + now.tv_nsec / 100 % 1000);
  return size;
}
"""


QUICK = ("return 3;", 'static char other[] = "5"; argv[1] = other;')  # an end and an output that are wrong


@pytest.mark.parametrize("does", [does if does in QUICK else pytest.param(does, marks=pytest.mark.slow) for does in MISBEHAVES])
def test_what_goes_wrong_there_decides(judge, does):
    code = first(TARGET, f'if (getenv("OMP_TARGET_OFFLOAD")) {{ {does} }}').replace("double total(", f"{BY_CHANCE}double total(", 1)
    verdict = judge(code)
    assert (verdict.reason, verdict.level) == MISBEHAVES[does], verdict


def test_programs_without_target_regions_and_other_targets_are_not_offloaded(bench):
    assert not offload.applies(SERIAL, TASK, bench) and offload.applies(TARGET, TASK, bench)
    assert not offload.applies(TARGET, replace(TASK, target="serial"), bench)
    plain = replace(bench, toolchains=toolchain.detect("emulated"))
    assert not offload.applies(TARGET, TASK, plain) and offload.on_gpu(plain) is plain


def test_what_cannot_be_offloaded_keeps_its_verdict_and_says_so(judge, bench):
    verdict = judge(SHARED + TARGET)
    assert verdict.reason == "ok" and "not offloaded to the GPU: it asks for memory shared" in verdict.checked
    refusing = replace(bench.toolchains["omp"].offloaded, llvm=replace(LLVM, gpu=("-fopenmp-targets=none-such",)))
    tools = {**bench.toolchains, "omp": replace(bench.toolchains["omp"], offloaded=refusing)}
    verdict = validate.judge(TARGET, TASK, tools, bench.level, LIMITS)
    assert verdict.reason == "ok" and "not offloaded to the GPU: " in verdict.checked


def test_regions_that_run_nowhere_else_end_the_program_without_a_device(bench):
    """The known program, by which a GPU is found, cannot be fooled by the host's fallback."""
    assert llvm.gpu_flags(LLVM, "/nowhere", "sm_90", ()) == ()
    built = build.build(llvm.KNOWN, bench.toolchains["omp"], (), bench.level)
    ran = build.execute(built.program, bench.toolchains["omp"], (), LIMITS, bench.level, {**llvm.MANDATORY, "OMP_DEFAULT_DEVICE": "77"})
    assert built.reason == "ok" and ran.reason != "ok"


def with_gpu_flags(bench, *flags):
    there = replace(bench.toolchains["omp"].offloaded, llvm=replace(LLVM, gpu=(llvm.OFFLOAD, *flags)))
    return {**bench.toolchains, "omp": replace(bench.toolchains["omp"], offloaded=there)}


def test_what_only_the_build_for_the_gpu_holds_is_looked_at_too(bench):
    code = f"#ifdef THERE\n#include <dlfcn.h>\nstatic void *seen = dlopen(0, 1);\n#endif\n{TARGET}"
    verdict = validate.judge(code, TASK, with_gpu_flags(bench, "-DTHERE"), bench.level, LIMITS)
    assert (verdict.reason, verdict.level) == ("cheat_suspected", 2) and "dlopen" in verdict.log
    broken = f'#ifdef THERE\nstatic_assert(false, "target regions: GPU: 1 to 1 regions a run");\n#endif\n{TARGET}'
    verdict = validate.judge(broken, TASK, with_gpu_flags(bench, "-DTHERE"), bench.level, LIMITS)
    assert verdict.reason == "ok" and verdict.checked.endswith("not offloaded to the GPU: clang does not build it for the GPU")
    assert "static_assert" in verdict.log or "static assertion" in verdict.log


def test_regions_that_stay_on_the_host_there_are_not_parallel(judge):
    serial = f'if (getenv("OMP_TARGET_OFFLOAD")) {{\n{LOOP} += x[i];\n  return s;\n  }}\n'
    verdict = judge(TARGET.replace("#pragma omp target", serial + "#pragma omp target", 1))
    assert (verdict.reason, verdict.level) == ("not_parallel", 4) and "0 to 0 regions a run" in verdict.log


def test_a_gpu_that_the_sandbox_cannot_use_rejects_nothing(bench):
    """As where its device nodes are not shown: no known program runs there."""
    verdict = validate.judge(TARGET, TASK, with_gpu_flags(bench, "-DOMP", "-Wl,-rpath,/none", "-nostdlib"), bench.level, LIMITS)
    assert verdict.reason == "ok" and verdict.checked.endswith("a known program does not run there in the sandbox")


def test_a_run_that_others_spoiled_is_a_failure_on_our_side(bench):
    """Full memory that is free again, or a GPU that is gone; a program that crashes by chance has crashed."""
    there, built = offload.on_gpu(bench), offload.build_for_gpu(TARGET, (), bench)
    fine = reference.run_once(built.program, "omp", KERNEL.hidden_args[2], 4, there)
    assert fine.reason == "ok"

    def told(said, place=there):
        ran = build.Ran("crash", "", f"ended with code 134: {said}", fine.outcome)
        return offload._ended_badly(built, KERNEL.hidden_args[2], ran, 1, TASK, place, []).reason

    assert told("CUDA error: Error in cuMemAlloc: out of memory") == "infra_error" and told("Segmentation fault") == "crash"
    gone = replace(bench, toolchains=with_gpu_flags(bench, "-nostdlib"))
    assert told("Segmentation fault", offload.on_gpu(gone)) == "infra_error"


def test_the_lane_times_the_program_that_runs_there(bench, monkeypatch):
    timed = []
    monkeypatch.setattr(timing, "measure", lambda program, *more: timed.append((program, more[-1])) or timing.Timed("1x (1-1)"))
    there = offload.build_for_gpu(TARGET, (), bench).program
    for code, expected in ((TARGET, (there, True)), (OMP, (build.build(OMP, bench.toolchains["omp"], (), bench.level).program, False))):
        assert validate.judge(code, TASK, bench.toolchains, bench.level, LIMITS, timing="on").faster == "1x (1-1)"
        assert timed.pop() == expected and there


def test_the_lane_runs_a_source_with_target_regions_on_the_gpu(bench, monkeypatch, tmp_path):
    monkeypatch.setattr(timing, "LOCKS", tmp_path)
    kernel = replace(KERNEL, sources={**KERNEL.sources, "omp": TARGET})
    source, place = timing._source(Task(kernel, "omp", "serial"), bench)
    assert source.regions == ways.GPU and place.toolchains["omp"].gpu
    plain, place = timing._source(Task(KERNEL, "omp", "serial"), bench)
    assert plain.regions == "" and place is bench


RUN = {"runtime": "libomp", "targets": "3"}
SEEN = RUN | {"device_kernels": "3", "device_threads": "384", "device_us": "9", "device_copies": "2"}
SEEN |= {"device_longest": "__omp_l9<2,1,1;64,1,1>"}


def test_the_rule_on_what_the_device_ran():
    told = parallel_evidence.of_offloaded([SEEN, SEEN], "")
    assert not told.reason and "3 to 3 regions a run; CUPTI: 3 to 3 kernels, 384 threads a run" in told.evidence
    assert parallel_evidence.of_offloaded([RUN, RUN], "").reason == "not_parallel"  # regions that no kernel ran for
    assert parallel_evidence.of_offloaded([SEEN | {"device_threads": "3"}], "").reason == "not_parallel"
    assert not parallel_evidence.of_offloaded([RUN | {"targets": "0"}], "").reason  # all its regions asked for the host
    assert parallel_evidence.of_offloaded([RUN | {"targets": "0"}], "", elsewhere=True).reason == "not_parallel"
    assert parallel_evidence.of_offloaded([RUN], "no CUPTI").evidence.endswith("CUPTI: not checked (no CUPTI)")


@needs_toolkit
def test_programs_for_a_gpu_are_built_in_the_sandbox_and_show_cupti_their_counters(bench):
    flags = llvm.gpu_offload(LLVM, str(HOME), "sm_90")
    roots = () if str(HOME).startswith("/usr/") else (str(HOME),)
    there = replace(bench.toolchains["omp"].offloaded, llvm=replace(LLVM, gpu=flags), roots=roots)
    built = build.build(TARGET, there, (), bench.level)
    assert built.reason == "ok" and built.regions == ways.GPU and b"sm_90" in built.program, built.log
    assert b"parallax_device" in built.program
    ran = build.execute(built.program, there, KERNEL.hidden_args[2], LIMITS, bench.level, {})
    assert toolchain.gpu_name() or (ran.reason == "ok" and ran.proof["targets"] == "0")  # on the host, since nothing else is there


@needs_toolkit
def test_what_a_region_lacks_on_the_gpu_shows_before_it_runs(bench):
    """Where code is made at the start, the build alone takes anything."""
    flags = (*llvm.gpu_offload(LLVM, str(HOME), "sm_90"), llvm.JIT)
    roots = () if str(HOME).startswith("/usr/") else (str(HOME),)
    there = replace(bench.toolchains["omp"].offloaded, llvm=replace(LLVM, gpu=flags), roots=roots)
    here = replace(bench, toolchains={**bench.toolchains, "omp": replace(bench.toolchains["omp"], offloaded=there)})
    lacking = TARGET.replace("s += x[i]", "s += x[i] + 0 * rand()")
    assert build.build(lacking, there, (), bench.level).reason == "ok"
    assert offload.build_for_gpu(lacking, (), here).reason == "compile_error"
    assert offload.build_for_gpu(TARGET, (), here).reason == "ok"


@pytest.mark.skipif(not toolchain.gpu_name(), reason="needs a GPU")
def test_on_this_gpu_the_device_runs_them():
    tools = toolchain.detect()
    if tools["omp"].offloaded is None:
        pytest.skip("clang cannot offload to this GPU")
    verdict = validate.judge(TARGET, TASK, tools, sandbox.probe(), LIMITS)
    assert verdict.reason == "ok" and f"{ways.GPU}: 1 to 1 regions a run" in verdict.checked, verdict
