"""Result buffers: what a device gives back, captured in real runs of emulated CUDA and of target regions, and how it is compared."""

import json
import shutil
import struct
import subprocess
from dataclasses import asdict, replace

import pytest

from parallax_lib.sandbox import sandbox
from parallax_lib.sandbox.sandbox import Limits
from parallax_lib.tasks.task import Kernel, Task
from parallax_lib.verdict import parallel_evidence, result_buffers, toolchain
from parallax_lib.verdict.assurance import data_mutants, hecbench_mutants
from parallax_lib.verdict.build import build
from parallax_lib.verdict.reference import THREADS, Bench, run_once
from parallax_lib.verdict.static_checks import unfit
from parallax_lib.verdict.validate import judge

BARE = ["bwrap", "--unshare-user", "--ro-bind", "/", "/", "g++", "--version"]
ABLE = shutil.which("bwrap") is not None and subprocess.run(BARE, capture_output=True).returncode == 0
pytestmark = pytest.mark.skipif(not ABLE, reason="needs g++, bubblewrap and user namespaces")

CHECK = """
static int check(const float *a, const float *out) {  // of its 64 rows it looks at the first one
  for (int i = 0; i < 64; i++)
    if (fabsf(out[i] - (a[i] * 2 + 1)) > 1e-3f) return 1;
  return 0;
}
"""
HEAD = """#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#define N 4096
"""
CUDA = (
    HEAD
    + CHECK
    + """
__global__ void work(const float *a, float *out, int *marks, int how) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= N) return;
  out[i] = how == 'r' ? (a[i] / 3 + 0.1666666f) * 6 + 1e-6f : a[i] * 2 + 1;
  if (how == 'w' && i / 64 == 5) out[i] = a[i / 64 * 64 + (i + 1) % 64] * 2 + 1;
  if (how == 'o' && i == 777) out[i] += 1;
  marks[i] = how == 'i' && i == 4000 ? 1 : i % 7;
}
__device__ float kept[N];
__global__ void keep(const float *out) { kept[blockIdx.x * blockDim.x + threadIdx.x] = out[blockIdx.x * blockDim.x + threadIdx.x]; }
int main(int argc, char **argv) {
  const int how = argv[1][0], pad = how == 'p' ? 32 : 0;
  float *a = (float *)malloc(N * 4), *out = (float *)malloc((N + pad) * 4), *da, *dout;
  int *marks = (int *)malloc(N * 4), *dmarks;
  for (int i = 0; i < N; i++) a[i] = i * 37 % 1001 / 10.0f;
  if (how == 'm') {
    cudaMallocManaged(&da, N * 4), cudaMallocManaged(&dout, N * 4), cudaMallocManaged(&dmarks, N * 4);
    memcpy(da, a, N * 4);
  } else {
    cudaMalloc(&da, N * 4), cudaMalloc(&dout, (N + pad) * 4), cudaMalloc(&dmarks, N * 4);
    cudaMemcpy(da, a, N * 4, cudaMemcpyHostToDevice);
  }
  if (how == 'a') cudaFreeHost(nullptr), cudaMallocHost(&out, N * 4);
  if (how == 'p') cudaMemset(dout + N, 0, pad * 4);
  work<<<N / 256, 256>>>(da, dout, dmarks, how);
  switch (how) {
    case 'm': cudaDeviceSynchronize(); out = dout; break;
    case 'x':  // the input and what came before, too
      cudaMemcpy(a, da, N * 4, cudaMemcpyDeviceToHost);
      cudaMemcpy(marks, dout, N * 4, cudaMemcpyDeviceToHost);
      cudaMemcpy(out, dout, N * 4, cudaMemcpyDeviceToHost);
      cudaMemcpy(marks, dmarks, N * 4, cudaMemcpyDeviceToHost);
      break;
    case 'b':  // the other order, twice, in halves
      cudaMemcpy(marks, dmarks, N * 4, cudaMemcpyDeviceToHost);
      cudaMemcpy(marks, dmarks, N * 4, cudaMemcpyDeviceToHost);
      cudaMemcpy(out + N / 2, dout + N / 2, N * 2, cudaMemcpyDeviceToHost);
      cudaMemcpy(out, dout, N * 2, cudaMemcpyDeviceToHost);
      break;
    case 'a': {
      cudaStream_t s;
      cudaStreamCreate(&s);
      cudaMemcpyAsync(out, dout, N * 4, cudaMemcpyDeviceToHost, s);
      cudaMemcpyAsync(marks, dmarks, N * 4, cudaMemcpyDeviceToHost, s);
      cudaStreamSynchronize(s);
      break;
    }
    case 's':
      keep<<<N / 256, 256>>>(dout);
      cudaMemcpyFromSymbol(out, kept, N * 4);
      cudaMemcpy(marks, dmarks, N * 4, cudaMemcpyDeviceToHost);
      break;
    case '2': cudaMemcpy2D(out, 256, dout, 256, 256, N / 64, cudaMemcpyDeviceToHost); break;
    default:
      cudaMemcpy(out, dout, (N + pad) * 4, cudaMemcpyDeviceToHost);
      cudaMemcpy(marks, dmarks, N * 4, cudaMemcpyDeviceToHost);
  }
  const int failed = check(a, out);
  for (int i = 0; how != 'm' && i < N; i++) out[i] = 0;  // what the host does afterwards changes nothing
  cudaFree(da), cudaFree(dout), cudaFree(dmarks);
  puts(failed ? "FAIL" : "PASS");
}
"""
)
OMP = (
    HEAD
    + "#include <omp.h>\n"
    + CHECK
    + """
static void work(const float *a, float *out, int *marks, int how) {
#pragma omp target teams distribute parallel for map(to : a[:N]) map(from : out[:N], marks[:N])
  for (int i = 0; i < N; i++) {
    out[i] = how == 'r' ? (a[i] / 3 + 0.1666666f) * 6 + 1e-6f : a[i] * 2 + 1;
    if (how == 'w' && i / 64 == 5) out[i] = a[i / 64 * 64 + (i + 1) % 64] * 2 + 1;
    marks[i] = i % 7;
  }
}
int main(int argc, char **argv) {
  const int how = argv[1][0];
  float *a = (float *)malloc(N * 4), *out = (float *)malloc(N * 4);
  int *marks = (int *)malloc(N * 4);
  for (int i = 0; i < N; i++) a[i] = i * 37 % 1001 / 10.0f;
  memset(out, 1, N * 4);
  memset(marks, 1, N * 4);
  if (how == 'u') {
#pragma omp target data map(tofrom : a[:N]) map(alloc : out[:N], marks[:N])
    {
      work(a, out, marks, how);
#pragma omp target update from(marks[:N])
#pragma omp target update from(out[:N / 2])
#pragma omp target update from(out[N / 2 : N / 2])
    }
  } else if (how == 'b') {
#pragma omp target enter data map(to : a[:N], out[:N], marks[:N])
    work(a, out, marks, how);
    work(a, out, marks, how);
#pragma omp target exit data map(from : marks[:N], out[:N]) map(delete : a[:N])
  } else if (how == 'c') {
    const int device = omp_get_default_device(), host = omp_get_initial_device();
    float *there = (float *)omp_target_alloc(N * 4, device);
#pragma omp target teams distribute parallel for is_device_ptr(there) map(to : a[:N]) map(tofrom : marks[:N])
    for (int i = 0; i < N; i++) there[i] = a[i] * 2 + 1, marks[i] = i % 7;
    omp_target_memcpy(out, there, N * 4, 0, 0, host, device);
    omp_target_free(there, device);
  } else if (how == 'h') {
#pragma omp parallel for
    for (int i = 0; i < N; i++) out[i] = a[i] * 2 + 1, marks[i] = i % 7;
  } else {
    work(a, out, marks, how);
  }
  puts(check(a, out) ? "FAIL" : "PASS");
}
"""
)
TEXT = {"cuda": CUDA, "omp": OMP}


@pytest.fixture(scope="module")
def bench():
    return Bench(toolchain.detect("cpu"), sandbox.probe(), Limits())


@pytest.fixture(scope="module")
def given_back(bench):
    """(api, variant) -> what each of the two runs gave back; one build an API."""
    programs = {}

    def runs(api: str, how: str) -> list:
        if api == "omp" and not bench.toolchains["omp"].llvm.offload:
            pytest.skip("needs clang's x86_64 offload device")
        if api not in programs:
            programs[api] = build(TEXT[api], bench.toolchains[api], (), bench.level, results=True)
            assert programs[api].reason == "ok", programs[api].log
        ran = [run_once(programs[api].program, api, (how,), n, bench) for n in THREADS[api]]
        assert [r.reason for r in ran] == ["ok", "ok"] and {r.text for r in ran} == {"PASS\n"}, [r.log for r in ran]
        return [result_buffers.read(r.results) for r in ran]

    return runs


def found(given_back, api: str, how: str, reference: str = "cuda") -> list:
    expected = result_buffers.learn(given_back(reference, "0"))
    assert [str(b) for b in expected] == ["4096 floats", "4096 integers"]
    return [result_buffers.compare(expected, run) for run in given_back(api, how)]


LARGE = """#include <cstdio>
#include <vector>
int main() {
  std::vector<float> x(1 << 25, 1.0f);
  float *p = x.data();
  #pragma omp target teams distribute parallel for map(tofrom: p[0 : 1 << 25])
  for (int i = 0; i < 1 << 25; i++) p[i] += i % 7;
  puts(x[3] == 4 ? "PASS" : "FAIL");
}
"""


def test_telling_what_came_back_is_no_work_of_the_program_s(bench):
    """Counters and supervisor agree, though it takes longer than what the program does with its 128 MB."""
    if not bench.toolchains["omp"].llvm.offload:
        pytest.skip("needs clang's x86_64 offload device")
    built = build(LARGE, bench.toolchains["omp"], (), bench.level, results=True)
    ran = run_once(built.program, "omp", (), 2, bench)
    assert ran.reason == "ok" and sum(b.bytes for b in result_buffers.read(ran.results)) == 4 << 25
    assert built.runtime != "libomp" or parallel_evidence.contradiction(ran.proof, ran.outcome.threads) == ""


@pytest.mark.parametrize("how", "0xbamsr")
def test_a_right_cuda_program_may_copy_as_it_likes(given_back, how):
    for one in found(given_back, "cuda", how):
        assert not one.difference and (one.compared, one.total) == (2, 2)


@pytest.mark.parametrize("how", "0ubcr")
def test_a_right_openmp_program_may_map_as_it_likes(given_back, how):
    for one in found(given_back, "omp", how):
        assert not one.difference and one.compared == 2


@pytest.mark.parametrize(("api", "how", "compared"), [("cuda", "p", 1), ("cuda", "2", 1), ("omp", "h", 0)])
def test_what_does_not_come_back_in_this_size_is_not_compared(given_back, api, how, compared):
    for one in found(given_back, api, how):
        assert not one.difference and (one.compared, one.total) == (compared, 2)
    assert result_buffers.summary([one]).startswith(f"{compared} of 2 result buffers compared")


@pytest.mark.parametrize(
    ("api", "how", "where"),
    [
        ("cuda", "w", "result buffer 1 (4096 floats): elements 256 to 511 differ"),
        ("omp", "w", "result buffer 1 (4096 floats): elements 256 to 511 differ"),
        ("cuda", "o", "result buffer 1 (4096 floats): elements 768 to 1023 differ"),
        ("cuda", "i", "result buffer 2 (4096 integers): elements 3840 to 4095 differ"),
    ],
)
def test_wrong_data_where_the_program_s_own_check_does_not_look(given_back, api, how, where):
    for one in found(given_back, api, how):
        assert one.difference.startswith(where)


def part(values: list[float]) -> tuple:
    squares = sum(v * v for v in values)
    return result_buffers.Part(repr(values), (0, 0), (sum(values), 0.0), (squares, 0.0))


def buffer(values: list[float], how: str = "f", kind: str = "floats") -> result_buffers.Buffer:
    rows = [values[i :: result_buffers.PARTS] for i in range(result_buffers.PARTS)]
    return result_buffers.Buffer(how, 4 * len(values), kind, tuple(map(part, rows)))


OUT, WORK, INPUT = ([float(i * k % 101 - 50) for i in range(320)] for k in (7, 11, 13))


@pytest.mark.parametrize(
    ("reference", "run", "right"),
    [
        ([OUT], [OUT], True),
        ([OUT], [INPUT], False),
        ([OUT], [INPUT, OUT], True),  # it gives back more
        ([OUT, WORK], [OUT], True),  # or less
        ([OUT, WORK], [INPUT], False),
        ([OUT, WORK], [WORK, OUT], True),
        ([OUT, WORK], [OUT, INPUT], False),
        ([OUT], [OUT[:160]], True),  # another size: not compared
        ([OUT], [[v * (1 + 1e-5) for v in OUT]], True),
        ([OUT], [[v * 1.01 for v in OUT]], False),
        ([OUT], [OUT[:200] + [OUT[200] + 1] + OUT[201:]], False),
        ([OUT], [OUT[:200] + [OUT[200] + 1e-4] + OUT[201:]], True),
        ([OUT], [], True),
    ],
)
def test_of_each_size_as_many_agree_as_both_have(reference, run, right):
    one = result_buffers.compare(tuple(map(buffer, reference)), tuple(map(buffer, run)))
    assert (not one.difference) is right


def test_only_what_is_overwritten_or_shared_may_stand_in():
    assert not result_buffers.compare((buffer(OUT),), (buffer(INPUT), buffer(OUT, "e"))).difference
    assert not result_buffers.compare((buffer(OUT),), (buffer(INPUT, "m"),)).difference  # memory that is shared may be an input
    assert result_buffers.compare((buffer(OUT),), (buffer(INPUT), buffer(WORK, "m"))).difference
    assert result_buffers.compare((buffer(OUT),), None) == result_buffers.Found(total=1)  # too many copies to be told


def test_what_moves_between_runs_of_the_reference_decides_nothing():
    moved = [*OUT[:16], *(v + 3 for v in OUT[16:32]), *OUT[32:]]  # a value of each part
    assert result_buffers.learn([(buffer(OUT),), (buffer(moved),)]) == ()
    few = [v + 3 if i % 16 == 2 else v for i, v in enumerate(OUT)]  # one part
    (learned,) = result_buffers.learn([(buffer(OUT),), (buffer(few),)])
    assert learned.spread.count(None) == 1
    other = [v + 9 if i % 16 == 2 else v for i, v in enumerate(OUT)]
    assert not result_buffers.compare((learned,), (buffer(other),)).difference
    assert result_buffers.learn([(buffer([0.0] * 320),)] * 2) == ()  # nothing but 0
    unwritten = [v if i % 16 < 9 else 1e20 + i for i, v in enumerate(OUT)]  # looks like integers as a whole; nine of 16 parts are written
    (learned,) = result_buffers.learn([(buffer(unwritten, kind="integers"),), (buffer(OUT),)])
    assert learned.kind == "floats" and learned.spread.count(None) == 7
    assert not result_buffers.compare((learned,), (buffer(unwritten),)).difference
    assert result_buffers.compare((learned,), (buffer(WORK),)).difference


def test_parts_that_depend_on_rounding_decide_nothing():
    learned = result_buffers.learn([(buffer(OUT),)] * 2)
    rounded = [v + 5 if i % 16 == 3 else v for i, v in enumerate(OUT)]
    ((only,),) = result_buffers.steady((learned,), [(buffer(INPUT), buffer(rounded))])  # the nearest of its size
    assert [i for i, spread in enumerate(only.spread) if spread is None] == [3]
    assert result_buffers.steady((learned,), [(buffer(INPUT),)]) == ((),)
    assert result_buffers.steady((learned,), []) == result_buffers.steady((learned,), [()]) == (learned,)


def test_results_are_those_that_all_programs_of_the_kernel_give_back():
    mine, theirs = [[(buffer(OUT), buffer(WORK))] * 2], [[(buffer(OUT),)] * 2]
    for programs in ([mine, theirs], [theirs, mine], [[[()] * 2], mine, theirs]):
        ((only,),) = result_buffers.of_programs(programs)
        assert result_buffers.agree(only, buffer(OUT))
    assert len(result_buffers.of_programs([mine, [[()] * 2]])[0]) == 2  # a program whose device gives nothing back says nothing
    whole = [[(buffer(OUT, kind="integers"),)] * 2]
    kinds = [result_buffers.of_programs([whole], texts)[0][0].kind for texts in (["int *x;"], ["int *x;", "__half2 *y;"])]
    assert kinds == ["integers", "mixed"]
    row = result_buffers.of_programs([mine])[0][0]
    assert result_buffers.restored(json.loads(json.dumps(asdict(row)))) == row


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ([struct.pack("<2f", 1.5, -3e4)], "floats"),
        ([struct.pack("<2f", 0, 2.5)], "doubles"),  # every second float 0: no float array in all likelihood
        ([struct.pack("<d", 1 / 3), struct.pack("<d", -2e-9)], "doubles"),
        ([struct.pack("<d", 2.0)], "doubles"),
        ([struct.pack("<2i", 12, 40000)], "integers"),
        ([struct.pack("<q", -5)], "integers"),
        ([struct.pack("<2I", 0x9F123456, 0xDEADBEEF), struct.pack("<2I", 0x01234567, 0x80ABCDEF)], "integers"),
        ([struct.pack("<if", 3, 1.5)], "mixed"),
    ],
)
def test_what_words_look_like(words, kind):
    looks = _looks(b"".join(words) * 16)
    assert result_buffers._kind(*looks) == kind


def _looks(data: bytes) -> list[int]:
    """The counts that probes/results.cpp makes, by their definitions."""
    floats = [(struct.unpack("<I", data[i : i + 4])[0], struct.unpack("<f", data[i : i + 4])[0]) for i in range(0, len(data), 4)]
    words = [(struct.unpack("<Q", data[i : i + 8])[0], struct.unpack("<d", data[i : i + 8])[0]) for i in range(0, len(data), 8)]
    some = [(bits, abs(v)) for bits, v in floats if bits << 1 & 0xFFFFFFFF]
    plain = [bits for bits, v in some if 1e-20 <= v <= 1e15]
    wild = [bits for bits, v in some if not 1e-20 <= v <= 1e15 and bits >> 23 & 255]
    doubles = [bits for bits, v in words if bits and 1e-100 <= abs(v) <= 1e100]
    low = [bits for bits, _ in words if bits and not bits & 0xFFFFFFFF]
    return [len(some), len(plain), len(wild), sum(bits != 0 for bits, _ in words), len(doubles), len(low)]


def test_versions_that_change_data_or_copies():
    inside = hecbench_mutants.parallel_lines(CUDA)
    wrong = data_mutants.wrong(CUDA, inside)
    assert {m.operator for m in wrong} == set(data_mutants.WRONG) and all(m.line in inside and m.code != CUDA for m in wrong)
    right = data_mutants.right(CUDA, "cuda")
    assert set(right) == {"copied twice", "copied in two halves"}
    assert right["copied twice"][0].count("cudaMemcpyDeviceToHost") > CUDA.count("cudaMemcpyDeviceToHost")
    assert "map(tofrom : out" in data_mutants.right(OMP, "omp")["mapped both ways"][0].replace("tofrom:", "tofrom :")


def test_names_of_the_capture_are_the_harness_s():
    assert unfit("extern \"C\" void parallax_given(void *, long) {}\nint main() {}")


KERNEL = Kernel("rows", "rows", "test", {"cuda": CUDA, "omp": OMP}, ("0",), (("0",),), oracle="own", strength="weak")


@pytest.mark.slow
@pytest.mark.usefixtures("references_once")
@pytest.mark.parametrize("target", ["cuda", "omp"])
def test_the_judge_rejects_what_prints_the_same_word(bench, target):
    task = Task(KERNEL, "omp" if target == "cuda" else "cuda", target)
    wrong = TEXT[target].replace("argv[1][0]", "'w'")

    def verdict(code: str, strength: str):
        each = replace(task, kernel=replace(KERNEL, strength=strength))
        return judge(code, each, bench.toolchains, bench.level, bench.limits)

    right = verdict(TEXT[target], "weak")
    assert right.validated and "2 of 2 result buffers compared (4096 floats, 4096 integers)" in right.checked, right
    rejected = verdict(wrong, "weak")
    assert (rejected.level, rejected.reason) == (4, "wrong_output") and "result buffer 1 (4096 floats)" in rejected.log
    if target == "omp":  # printed output alone, whatever the API: as kernels whose output holds values are judged
        assert verdict(wrong, "strong").validated
