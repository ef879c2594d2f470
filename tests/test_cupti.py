"""What the harness links into CUDA programs for a real GPU, and CUPTI beside them: built, run on a stand-in, proven on a GPU."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from programs import needs_nvcc, sandboxed

from parallax_lib.core.config import ROOT
from parallax_lib.sandbox import landlock, sandbox
from parallax_lib.sandbox.sandbox import Level, Limits
from parallax_lib.verdict import build, cuda_link, cupti, harness, parallel_evidence, toolchain

pytestmark = sandboxed
HOME = toolchain.cuda_home()
needs_cupti = pytest.mark.skipif(not (HOME and all(toolchain.find_cupti(HOME))), reason="nvcc and CUPTI's headers are not installed")
needs_gpu = pytest.mark.skipif(not toolchain.gpu_name(), reason="needs a GPU")
no_gpu = pytest.mark.skipif(bool(toolchain.gpu_name()), reason="this machine has a GPU")


def claimed(**more):
    """The CUDA toolchain as if a GPU were here."""
    return replace(toolchain.detect("compile")["cuda"], can_run=True, cupti=toolchain.find_cupti(HOME), **more)


@needs_cupti
def test_the_library_builds_and_programs_show_it_their_counters(tmp_path):
    level = sandbox.probe()
    made, why = cupti.library(claimed(), level)
    assert made and not why
    for name, data in (("cupti.so", made), ("program", build.build(cupti.KNOWN["cuda"], claimed(), (), level).program)):
        (tmp_path / name).write_bytes(data)
    symbols = {p.name: subprocess.run(["nm", "-D", p], capture_output=True, text=True).stdout for p in tmp_path.iterdir()}
    assert " T InitializeInjection" in symbols["cupti.so"] and " w parallax_device" in symbols["cupti.so"]
    assert " parallax_device" in symbols["program"]


@needs_cupti
@no_gpu
def test_what_keeps_cupti_away_is_said_in_words():
    level = sandbox.probe()
    assert cupti.why_not(toolchain.detect("compile")["cuda"], level) == "no GPU"
    assert cupti.why_not(replace(claimed(), cupti=("", "")), level) == "not installed"
    assert cupti.why_not(claimed(), level).startswith("a program that it watches does not run")
    wrong = replace(claimed(), cupti=("/usr/include", "/usr/lib"))
    assert cupti.why_not(wrong, level).startswith("probes/cupti.cpp does not build") and "\n" not in cupti.why_not(wrong, level)
    assert cupti.given(claimed(), level) == ({}, {})


def test_cupti_outside_the_toolkit_is_found(tmp_path):
    assert toolchain.find_cupti(tmp_path) in (("", ""), toolchain.find_cupti(tmp_path / "none"))
    for name in ("include/cupti.h", "lib64/libcupti.so.13"):
        path = tmp_path / "extras" / "CUPTI" / name
        path.parent.mkdir(parents=True)
        path.touch()
    headers, library = toolchain.find_cupti(tmp_path)
    assert headers.endswith("extras/CUPTI/include") and library.endswith("extras/CUPTI/lib64")


# ---- the rule --------------------------------------------------------------------------------------------------------

RUN = {"launches": "2", "threads": "2048", "last_error": "0"}
WATCHED = RUN | {"device_kernels": "2", "device_threads": "2048", "device_us": "7", "device_copies": "3"}
WATCHED |= {"device_longest": "_Z1kv<8,1,1;256,1,1>"}


def test_what_cupti_saw_decides_where_it_watched():
    seen = parallel_evidence.of_cuda([WATCHED, WATCHED], unwatched="")
    assert seen.parallel == "yes" and "2 to 2 kernels, 2048 threads a run, 14 us, 6 copies, longest _Z1kv<8,1,1;256,1,1>" in seen.evidence
    assert parallel_evidence.of_cuda([RUN, RUN], unwatched="").reason == "not_parallel"
    assert parallel_evidence.of_cuda([RUN, WATCHED], unwatched="").parallel == "yes"  # one report may get lost
    assert parallel_evidence.of_cuda([WATCHED | {"device_threads": "2"}], unwatched="").reason == "not_parallel"  # a graph of one thread
    assert parallel_evidence.of_cuda([WATCHED | {"last_error": "9"}], unwatched="").reason == "cuda_error"
    absent = parallel_evidence.of_cuda([RUN], unwatched="not installed")
    assert absent.parallel == "yes" and absent.evidence.endswith("CUPTI: not checked (not installed)")
    assert "CUPTI" not in parallel_evidence.of_cuda([RUN | {"emulated": "1"}], unwatched="no GPU").evidence


# ---- a stand-in runtime: zeroed memory, a driver library, an injected library -------------------------------------------

DRIVER = """#include <cstdlib>
extern "C" int cuMemsetD32Async(unsigned long p, unsigned v, size_t n, void *) { while (n) ((unsigned *)p)[--n] = v; return 0; }
extern "C" int cuMemsetD8Async(unsigned long p, unsigned char v, size_t n, void *) { while (n) ((char *)p)[--n] = v; return 0; }
extern "C" int cuMemcpyDtoH_v2(char *to, unsigned long p, size_t n) { while (n--) to[n] = ((char *)p)[n]; return 0; }
extern "C" int cuStreamCreate(void **s, unsigned) { *s = (void *)8; return 0; }
extern "C" int cuStreamSynchronize(void *) { return 0; }
extern "C" int cuStreamDestroy_v2(void *) { return 0; }
extern "C" int cuMemGetInfo_v2(size_t *free, size_t *total) { *total = 100, *free = getenv("FULL") ? 49 : 51; return 0; }
"""
RUNTIME = """#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
struct dim3 { unsigned x, y, z; };
static void begin() {
  static void *driver = dlopen("libcuda.so.1", RTLD_NOW), *watch = getenv("WATCH") ? dlopen(getenv("WATCH"), RTLD_NOW) : nullptr;
  if (watch) ((int (*)())dlsym(watch, "InitializeInjection"))();
}
extern "C" int cudaMalloc(void **p, size_t n) { begin(); return !p ? 1 : n > 1999 ? 2 : !(*p = calloc(1, n)); }
extern "C" int cudaFree(void *p) { free(p); return 0; }
extern "C" int cudaFreeAsync(void *, void *) { return 0; }
extern "C" int cudaMallocAsync(void **p, size_t n, void *) { begin(); return !(*p = calloc(1, n)); }
extern "C" int cudaHostAlloc(void **p, size_t n, unsigned) { begin(); return !(*p = calloc(1, n)); }
extern "C" int cudaLaunchKernel(const void *, dim3, dim3, void **, size_t, void *) { return puts("launched") < 0; }
extern "C" int cudaGetLastError() { return 0; }
extern "C" int cudaDeviceSynchronize() { return 0; }
"""
WATCHER = """struct Kernel { char name[64]; int grid[3], block[3]; long nanoseconds; };
struct Seen { void (*read)(); long kernels, threads, nanoseconds, copies; Kernel longest; };
extern "C" __attribute__((weak)) Seen parallax_device;
static void read() { parallax_device = {read, 1, 128, 5000, 2, {"odd name", {2, 1, 1}, {64, 1, 1}, 5000}}; }
extern "C" int InitializeInjection() { if (&parallax_device) parallax_device.read = read; return 1; }
"""
PROGRAM = """#include <cstdio>
#include <cstdlib>
struct dim3 { unsigned x, y, z; };
extern "C" int cudaMalloc(void **, size_t), cudaMallocAsync(void **, size_t, void *), cudaHostAlloc(void **, size_t, unsigned);
extern "C" int cudaLaunchKernel(const void *, dim3, dim3, void **, size_t, void *), cudaFree(void *), cudaFreeAsync(void *, void *);
int main() {
  unsigned *a, *b, *c;
  const int failed = cudaMalloc(0, 64), large = cudaMalloc((void **)&a, 2000);
  cudaMalloc((void **)&a, 64), cudaMallocAsync((void **)&b, 64, 0), cudaHostAlloc((void **)&c, 64, 0);
  unsigned *more;
  cudaMalloc((void **)&more, 2000);  // refused, but by now the program holds most of what is taken
  cudaLaunchKernel(0, {2, 1, 1}, {64, 1, 1}, 0, 0, 0);
  char *edge;
  if (cudaMalloc((void **)&edge, 1500)) return 1;  // too much with a guard
  cudaFree(edge);
  const int at = getenv("AT") ? atoi(getenv("AT")) : 63;
  if (getenv("OFTEN"))
    for (int i = 0; i < 3000; i++) cudaMalloc((void **)&edge, 10), edge[9] = 0, cudaFree(edge);
  if (cudaMalloc((void **)&edge, 64)) return 1;
  edge[at] = 0;
  if (getenv("ADD")) for (double *d = (double *)edge; d < (double *)(edge + 72); d++) *d += *d * *d;
  if (getenv("FREE")) cudaFree(edge);
  if (getenv("LATER")) cudaFreeAsync(edge, 0), edge[64] = 0;  // the next owner's
  printf("%x %x %x %d%s\\n", a[15], b[0], c[7], failed + 10 * large, getenv("CUDACPU_KERNELS") ? " watched" : "");
}
"""
CALLS = ("cudaMalloc", "cudaMallocAsync", "cudaHostAlloc", "cudaLaunchKernel", "cudaFree", "cudaFreeAsync")


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stand_in")
    texts = {"driver": DRIVER, "runtime": RUNTIME, "watcher": WATCHER, "main": PROGRAM, "marker": harness.text("marker.cpp").decode()}
    texts["proof"] = "".join((harness.PROBES / name).read_text() for name in harness.PROOFS["cuda"])
    for name, text in texts.items():
        (folder / f"{name}.cpp").write_text(text)
    wraps = [f"-Wl,--wrap={name}" for name in CALLS]
    for command in (
        ["-shared", "-fPIC", "driver.cpp", "-o", "libcuda.so.1", "-Wl,-soname,libcuda.so.1"],
        ["-shared", "-fPIC", "runtime.cpp", "-o", "libruntime.so"],
        ["-shared", "-fPIC", "watcher.cpp", "-o", "watcher.so"],
        ["-Wall", "-Werror", "-c", "proof.cpp", "-o", "proof.o", *(f"-DUSES_{name}" for name in CALLS)],
        ["main.cpp", "marker.cpp", "proof.o", "-o", "program", *wraps, f"-Wl,{cuda_link.SHOWN[1]}", "-L.", "-lruntime", "-Wl,-rpath,."],
    ):
        subprocess.run(["g++", "-O2", "-std=c++17", *command], cwd=folder, check=True)

    def run(**env):
        env = {**os.environ, "LD_LIBRARY_PATH": ".", **env}
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with subprocess.Popen(["./program"], cwd=folder, env=env, text=True, **pipes) as process:
            process.stdin.write("0" * 32)
            process.stdin.close()
            if os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT).si_code == os.CLD_STOPPED:
                process.send_signal(signal.SIGCONT)  # the marker stops a program after its last line, to be looked at
            said = process.stdout.read()
        assert process.returncode == 0
        return said.removeprefix(build.BEGIN)

    return run


def test_fresh_memory_holds_the_pattern_and_errors_pass_through(stand_in):
    text = stand_in()
    assert text.startswith("launched\nfff5a5c3 fff5a5c3 fff5a5c3 21\n")
    assert "launches=1 threads=128 last_error=0 refused=0 overrun=0\n" in text and "device_" not in text


def test_fresh_memory_is_another_number_in_every_second_run(stand_in):
    assert stand_in(CUDACPU_SCHEDULE="2").startswith("launched\n40454545 40454545 40454545 21\n")


def test_with_kernels_off_none_is_launched_and_the_program_cannot_see_why(stand_in):
    assert stand_in(CUDACPU_KERNELS="0").startswith("fff5a5c3 fff5a5c3 fff5a5c3 21\n")


def test_an_allocation_that_fails_on_a_device_that_others_fill_is_counted(stand_in):
    assert "refused=1 " in stand_in(FULL="1") and "refused=0 " in stand_in()


@pytest.mark.parametrize("more", [{}, {"FREE": "1"}, {"OFTEN": "1"}])
def test_a_write_past_the_end_of_a_block_is_seen_when_it_is_freed_and_at_the_end(stand_in, more):
    for at, told in ((0, 0), (63, 0), (64, 1), (64 + 1023, 1)):
        line = stand_in(AT=str(at), **more).split("@proof ")[1].split("\n")[0]
        counted = dict(word.split("=", 1) for word in line.split()[1:])
        assert counted["overrun"] == str(told)
        judged = parallel_evidence.of_cuda([counted], unwatched=None)
        assert judged.reason == ("cuda_error" if told else "") and ("wrote past the end" in judged.evidence) == bool(told)


def test_a_block_that_was_freed_in_a_stream_is_not_looked_at_again(stand_in):
    assert "overrun=0" in stand_in(LATER="1")


def test_an_update_of_what_lies_past_the_end_is_seen(stand_in):
    assert "overrun=0" in stand_in() and "overrun=1" in stand_in(ADD="1")


def test_what_the_device_reported_stands_in_the_proof_line(stand_in):
    line = stand_in(WATCH="./watcher.so").split("@proof ")[1].split("\n")[0]
    counted = dict(word.split("=", 1) for word in line.split()[1:])
    assert counted["device_kernels"] == "1" and counted["device_longest"] == "odd?name<2,1,1;64,1,1>"
    assert parallel_evidence.of_cuda([counted], unwatched="").parallel == "yes"


# ---- the sandbox -----------------------------------------------------------------------------------------------------

LESSER = Level("degraded", user=sandbox.NOBODY if os.geteuid() == 0 else None)


@pytest.mark.skipif(not landlock.landlock_abi(), reason="the kernel has no Landlock")
def test_gpu_jobs_of_the_degraded_level_read_what_the_driver_needs_and_no_other_process():
    script = "cat /proc/self/maps > /dev/null 2>&1 && echo maps; cat /proc/1/environ > /dev/null 2>&1 && echo environ; exit 0"
    outs = [sandbox.run(["/bin/sh", "-c", script], {}, Limits(), LESSER, gpu=gpu).stdout for gpu in (False, True)]
    assert outs == ["", "maps\n"]


# ---- the checks for a GPU machine --------------------------------------------------------------------------------------


@needs_gpu
@needs_nvcc
def test_the_proof_tells_programs_apart_on_this_gpu():
    import gpu_proof_check

    assert gpu_proof_check.main() == 0


def test_a_part_that_takes_too_long_is_stopped_and_what_it_printed_is_kept(tmp_path):
    import gpu_checks

    good, line = gpu_checks.run(gpu_checks.Part("slow", ["sh", "-c", "echo begun; sleep 60"], "slow.txt", 1.0), tmp_path)
    assert not good and "stopped after 1 s: begun" in line
    good, line = gpu_checks.run(gpu_checks.Part("none", ["/no/such/tool"], "none.txt", 5.0), tmp_path)
    assert not good and "cannot start" in line


@no_gpu
@pytest.mark.slow
def test_without_a_gpu_every_part_ends_with_one_line(tmp_path):
    command = [sys.executable, "scripts/gpu_checks.py", "--out", str(tmp_path), "--minutes", "5", "--parts", "proof,agree,compare"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    said = (tmp_path / "summary.txt").read_text()
    assert done.returncode == 1 and said.count("\n") == 3 and "Traceback" not in done.stdout + done.stderr + said
    assert "nothing to check here" in said and "validation.cuda: gpu needs a GPU" in said and "judge first" in said
    assert {p.name for p in Path(tmp_path).iterdir()} == {"proof.txt", "agree.txt", "summary.txt"}
