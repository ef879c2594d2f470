"""CUDA on the CPU: what the programming guide says of memory, threads and errors, and wrong programs are refused.

Programs are compiled and run in the real sandbox.  Known outputs are worked out by hand or by plain loops on the host.
The full sweep of the bundled suite: python scripts/agree_cuda.py --judge emulated --parts minibench
"""

import os
from dataclasses import replace

import pytest
from programs import sandboxed

from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Suite
from parallax_lib.cuda_emulation import rewrite
from parallax_lib.sandbox import sandbox
from parallax_lib.sandbox.sandbox import Limits
from parallax_lib.tasks.suites import load_suite
from parallax_lib.tasks.synthetic import generator
from parallax_lib.tasks.task import Kernel, Task
from parallax_lib.verdict import build, parallel_evidence, toolchain, validate

pytestmark = pytest.mark.usefixtures("references_once")

LIMITS = Limits(cpu_s=5, wall_s=60, memory_mb=1024)
HEAD = "#include <cstdio>\n#include <cstdlib>\n#include <cassert>\n#include <vector>\n"


@pytest.fixture(scope="module")
def tools():
    found = toolchain.detect("emulated")
    return {**found, "cuda": replace(found["cuda"], gate=())}  # nvcc's consent costs more than the rest


@pytest.fixture
def run(tools):
    def go(code, schedule=1, args=(), **env):
        built = build.build(HEAD + code, tools["cuda"], (), sandbox.probe())
        assert built.reason == "ok", built.log
        env = {"CUDACPU_SCHEDULE": str(schedule), **env}
        return build.execute(built.program, tools["cuda"], args, LIMITS, sandbox.probe(), env)

    return go


# ---- the rewriter ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, expected",
    [
        ('const char *s = "k<<<1, 2>>>(x)"; // k<<<1, 2>>>(x)', 'const char *s = "k<<<1, 2>>>(x)"; // k<<<1, 2>>>(x)'),
        ('auto r = R"a(k<<<1, 2>>>(x))" )a";', 'auto r = R"a(k<<<1, 2>>>(x))" )a";'),
        ("/* k<<<1,\n2>>>() */ int n = 1 << 3 >> 1;", "/* k<<<1,\n2>>>() */ int n = 1 << 3 >> 1;"),
        ("k<<<1 << 3, b>>>(x);", "cudacpu::on(cudacpu::config(1 << 3, b), k)(x);"),
        ("f<A<B>><<<g(h<i>()), 2>>>(x);", "cudacpu::on(cudacpu::config(g(h<i>()), 2), f<A<B>>)(x);"),
        ("f<A<B<C>>> <<<1, 2, 3, s>>> (x);", "cudacpu::on(cudacpu::config(1, 2, 3, s), f<A<B<C>>>) (x);"),
        ("a::b::k<<<1, 2>>>();", "cudacpu::on(cudacpu::config(1, 2), a::b::k)();"),
        ("if (x) (*p)<<<1, 2>>>();", "if (x) cudacpu::on(cudacpu::config(1, 2), (*p))();"),
        ("t[i + 1]<<<1, 2>>>(x);", "cudacpu::on(cudacpu::config(1, 2), t[i + 1])(x);"),
        ("#define GO(k, ...) k<<<1, \\\n 2>>>(__VA_ARGS__)", "#define GO(k, ...) cudacpu::on(cudacpu::config(1, \\\n 2), k)(__VA_ARGS__)"),
        ("char c = '\"'; k<<<1, 2>>>(1'000);", "char c = '\"'; cudacpu::on(cudacpu::config(1, 2), k)(1'000);"),
    ],
)
def test_launches_are_found_in_tricky_text(text, expected):
    assert rewrite.rewrite(text) == '#line 1 "main.cu"\n' + expected


def test_kernels_that_a_pointer_cannot_call_are_called_by_name():
    for head in ("template <class T> __global__ void k(T x) {}", "__global__ void k(int x = 3);\n__global__ void k(int x) {}",
                 "__global__ void __launch_bounds__(128) k(int x) {}\n__global__ void k(double x) {}",
                 "#define BOUND(n)\ntemplate <class T> __global__ void BOUND(128) k(T x) {}",
                 "template <class T> __global__ void k(T x) noexcept {}"):  # fmt: skip
        assert "cudacpu::deduced(" in rewrite.rewrite(head + "\nvoid h() { k<<<1, 2>>>(1); }")
        assert "cudacpu::Register" not in rewrite.rewrite(head)
    assert "}} static cudacpu::Register" in rewrite.rewrite("namespace q { __global__ void k() {{}}}")


def test_only_variables_leave_the_host():
    kept = "#define ON static __device__\nint host = 3;\n#define TOO \\\n __device__\nint too[2];\n__device__ int f(int a);\n"
    kept += "__device__ const int n = 3;\nstruct S { __device__ int g; };\nvoid h() { __device__ int x; }"
    assert rewrite.rewrite(kept).endswith(kept)
    made = rewrite.rewrite("#define TABLE __constant__\nTABLE float w[3];\n#define DECLARE(n) __device__ int n = 0\nDECLARE(c);")
    assert made.count("__CUDACPU_VARIABLE") == 2
    moved = rewrite.rewrite("__device__ int a;\n__constant__ float b[3] = {1};\nnamespace q { static __device__ S *c; }")
    assert moved.count("__CUDACPU_VARIABLE") == 3 and "__device__" not in moved and "__constant__" not in moved


def test_what_the_emulator_lacks_is_known():
    assert "thrust/sort.h" in rewrite.unsupported("#include <thrust/sort.h>\n")
    assert "PTX" in rewrite.unsupported('asm volatile("mov.u32 %0, %laneid;" : "=r"(x));')
    assert not rewrite.unsupported("#include <cuda_runtime.h>\n#include <cooperative_groups/reduce.h>\n// asm(x)\n/* asm ( */")


def test_stores_of_device_code_let_others_go_first():
    code = "__global__ void k(int *c, S *s) { int i = 0; int a[2] = {0}; T *q = &c[3]; i += c[0]; f(c[1]); %s }\n"
    code += "void h(int *x) { x[0] += 1; }"
    cases = {
        "c[i] += 2;": "cudacpu::update(c[i] , [&](auto &cudacpu_v) { cudacpu_v += 2; });",
        "if (i) *c = *c + 1;": "if (i) cudacpu::at(*c ) = *c + 1;",
        "int p = (*c)++;": "int p = cudacpu::bump((*c), 1);",
        "for (;;) s->a[i].x <<= 3;": "for (;;) cudacpu::update(s->a[i].x , [&](auto &cudacpu_v) { cudacpu_v <<= 3; });",
        "--c[2];": "cudacpu::bump(c[2], -1);",
        "return;": "return;",
    }
    for text, expected in cases.items():
        assert rewrite.rewrite(code % text).split(" static cudacpu::Register")[0].endswith(f"f(c[1]); {expected} }}"), text
        assert "void h(int *x) { x[0] += 1; }" in rewrite.rewrite(code % text)


# ---- threads ---------------------------------------------------------------------------------------------------------

INDICES = """
__global__ void mark(int *seen, dim3 g, dim3 b) {
  int t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  int k = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  bool same = g.x == gridDim.x && g.y == gridDim.y && g.z == gridDim.z && b.y == blockDim.y && b.z == blockDim.z;
  atomicAdd(&seen[k * 24 + t], same ? 1 : 100);
}
template <int N, class T> __global__ void rows(T *x, T by) {  // sum over the block, then shared by all
  __shared__ T part[N], other[2];
  extern __shared__ double more[];
  part[threadIdx.x] = x[blockIdx.x * N + threadIdx.x];
  __syncthreads();
  for (int s = N / 2; s > 0; s /= 2) {
    if (threadIdx.x < s) part[threadIdx.x] += part[threadIdx.x + s];
    __syncthreads();
  }
  if (threadIdx.x == 0) other[1] = part[0] * by, more[3] = 5;
  __syncthreads();
  x[blockIdx.x * N + threadIdx.x] = other[1] + more[3];
}
int main() {
  int *seen, h[12 * 24];
  cudaMalloc(&seen, sizeof h);
  cudaMemset(seen, 0, sizeof h);
  dim3 g(3, 2, 2), b(4, 3, 2);
  mark<<<g, b>>>(seen, g, b);
  cudaMemcpy(h, seen, sizeof h, cudaMemcpyDeviceToHost);
  int ones = 0;
  for (int v : h) ones += v == 1;
  double *d, x[256];
  cudaMalloc((void **)&d, sizeof x);
  for (int i = 0; i < 256; i++) x[i] = i;
  cudaMemcpy(d, x, sizeof x, cudaMemcpyHostToDevice);
  rows<128><<<2, 128, 32>>>(d, 2.0);
  cudaMemcpy(x, d, sizeof x, cudaMemcpyDeviceToHost);
  printf("%d %g %g\\n", ones, x[5], x[200]);
}
"""


@sandboxed
@pytest.mark.parametrize("schedule", [1, 2])
def test_indices_shared_memory_and_barriers(run, schedule):
    ran = run(INDICES, schedule)
    assert ran.text == f"288 {2 * 127 * 128 // 2 + 5} {2 * (127 * 128 // 2 + 128 * 128) + 5}\n"
    assert (ran.proof["launches"], ran.proof["threads"], ran.proof["emulated"]) == ("2", str(288 + 256), "1")
    assert ran.proof["last_error"] == "cudaSuccess"


WARPS = """
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
namespace cg = cooperative_groups;
__global__ void all(int *o) {
  unsigned full = 0xffffffff;
  int t = threadIdx.x, lane = t % 32, n = 0;
#define OUT(v) o[n++ * 64 + t] = (v)
  OUT(__shfl_sync(full, t, 3));
  OUT(__shfl_up_sync(full, t, 2, 8));
  OUT(__shfl_down_sync(full, t, 1));
  OUT(__shfl_xor_sync(full, t, 5));
  OUT((int)__ballot_sync(full, lane < 4));
  OUT(__any_sync(full, t == 40) + 2 * __all_sync(full, t < 32));
  OUT(lane < 16 ? __shfl_sync(0xffff, t, 1, 16) : -1);
  OUT((int)__popc(__match_any_sync(full, lane / 8)));
  OUT(__reduce_add_sync(full, lane));
  OUT(lane % 2 ? (int)__activemask() : 7);
  OUT(__syncthreads_count(t % 3 == 0));
  auto tile = cg::tiled_partition<8>(cg::this_thread_block());
  OUT(cg::reduce(tile, t, cg::plus<int>()));
  OUT((int)tile.ballot(tile.thread_rank() == 2));
  if (t % 4 == 1) { auto g = cg::coalesced_threads(); n = 13; OUT((int)(100 * g.size() + g.thread_rank())); }
  if (t == 63) return;
  __syncthreads();  // threads that have ended are not waited for
  n = 14; OUT(__popc(t) + __clz(t) + __ffs(t) + max(3u, 4u) + (int)__brev(2u) + __float_as_int(1.0f));
}
int main() {
  int *d, h[15 * 64];
  cudaMalloc(&d, sizeof h);
  cudaMemset(d, 0, sizeof h);
  all<<<1, 64>>>(d);
  cudaMemcpy(h, d, sizeof h, cudaMemcpyDeviceToHost);
  for (int r = 0; r < 15; r++) printf("%d %d\\n", h[r * 64 + 9], h[r * 64 + 33]);
}
"""


@sandboxed
@pytest.mark.parametrize("schedule", [1, 2])
def test_warp_operations_and_groups(run, schedule):
    def bits(t):
        return bin(t).count("1") + 32 - t.bit_length() + (t & -t).bit_length() + 4 + (1 << 30) + 0x3F800000

    def signed(v):
        return (v + (1 << 31)) % (1 << 32) - (1 << 31)

    expected = [
        (3, 35), (9, 33), (10, 34), (12, 36), (15, 15), (2, 1), (1, 33), (8, 8), (496, 496),
        (signed(0xAAAAAAAA), signed(0xAAAAAAAA)), (22, 22), (sum(range(8, 16)), sum(range(32, 40))), (4, 4), (802, 800),
        (signed(bits(9)), signed(bits(33))),
    ]  # fmt: skip
    assert run(WARPS, schedule).text.split("\n")[:-1] == [f"{a} {b}" for a, b in expected]


MORE = """
#include <cuda_fp16.h>
#include <cooperative_groups.h>
__constant__ float scale[2] = {2, 3};
__device__ int total = 5;
__managed__ int both = 1;
__device__ float twice(float x) { return 2 * x; }
typedef float (*Function)(float);
__global__ void use(float *o, int *lock, double *sum, float4 v) {
  while (atomicCAS(lock, 0, 1) != 0) {}
  total += 1, *sum = *sum + 0.5;
  atomicExch(lock, 0);
  atomicAdd(sum, 0.25);
  if (threadIdx.x == 0) { Function f = twice; o[0] = f(v.w) * scale[1] + __half2float(__float2half(0.1f)); both += 1; }
  if (threadIdx.x == 1) printf("from a kernel %d\\n", threadIdx.x);
  if (threadIdx.x == 2) { int *mine = (int *)malloc(40); mine[9] = 3; o[1] = mine[9] + rsqrtf(4.0f); free(mine); }
}
__global__ void whole(int *x) {
  x[blockIdx.x] = blockIdx.x + 1;
  cooperative_groups::this_grid().sync();
  __shared__ int got;
  if (threadIdx.x == 0) got = x[(blockIdx.x + 1) % gridDim.x];
  __syncthreads();
  cooperative_groups::this_grid().sync();
  if (threadIdx.x == 1) x[blockIdx.x] = got;
}
int main() {
  float *o, h[2], s[2] = {0, 4};
  int *lock, count, *x, hx[4], *pinned;
  double *sum, hs;
  cudaStream_t stream;
  cudaEvent_t a, b;
  cudaStreamCreate(&stream), cudaEventCreate(&a), cudaEventCreate(&b);
  cudaMalloc(&o, 8), cudaMalloc(&lock, 4), cudaMallocManaged(&sum, 8), cudaMalloc(&x, 16);
  cudaMemset(lock, 0, 4), *sum = 0;
  cudaMemcpyToSymbol(scale, s, sizeof s);
  cudaEventRecord(a, stream);
  use<<<2, 64, 0, stream>>>(o, lock, sum, make_float4(1, 2, 3, 4));
  cudaEventRecord(b, stream);
  cudaEventSynchronize(b);
  float ms = -1;
  cudaError_t timed = cudaEventElapsedTime(&ms, a, b);
  printf("event %d %d\\n", timed, ms >= 0);
  cudaMemcpyFromSymbol(&count, total, sizeof count);
  cudaMemcpy(h, o, 8, cudaMemcpyDefault);
  printf("%d %d %g %.5f %g\\n", count, both, *sum, h[0], h[1]);
  void *args[] = {&x};
  printf("coop %d\\n", cudaLaunchCooperativeKernel((void *)whole, 4, 2, args));
  cudaMemcpy(hx, x, 16, cudaMemcpyDeviceToHost);
  printf("%d %d %d %d\\n", hx[0], hx[1], hx[2], hx[3]);
  cudaMallocHost(&pinned, 12);
  cudaMemcpy2D(pinned, 4, x, 8, 4, 2, cudaMemcpyDeviceToHost);
  printf("%d %d\\n", pinned[0], pinned[1]);
  cudaFreeHost(pinned), cudaFree(o);
}
"""


@sandboxed
@pytest.mark.parametrize("schedule", [1, 2])
def test_symbols_locks_half_streams_and_grids(run, schedule):
    lines = run(MORE, schedule).text.splitlines()
    assert lines == ["from a kernel 1"] * 2 + ["event 0 1", f"{5 + 128} 3 96 32.09998 3.5", "coop 0", "2 3 4 1", "2 4"]


LIBRARY = """
#include <cub/cub.cuh>
#include <cuComplex.h>
#include <cuda_fp16.h>
#include <cooperative_groups.h>
namespace cg = cooperative_groups;
enum { N = 96, W = 8 };
struct Greater { __device__ int operator()(int a, int b) const { return a > b ? a : b; } };
struct Less { __device__ int operator()(int a, int b) const { return a < b ? a : b; } };
__device__ int tile_sum(cg::thread_block_tile<W> t, int v) {
  for (int d = W / 2; d; d /= 2) v += t.shfl_down(v, d);
  return v;
}
__global__ void k(const int *x, int *out, float *f, unsigned *u) {
  using Reduce = cub::BlockReduce<int, N>;
  using Scan = cub::BlockScan<int, N>;
  typedef cub::WarpReduce<int, W> Few;
  typedef cub::WarpScan<int> Warp;
  __shared__ typename Reduce::TempStorage r;
  __shared__ Scan::TempStorage s;
  __shared__ Few::TempStorage few[N / W];
  __shared__ Warp::TempStorage warp[N / 32];
  int t = threadIdx.x, v = x[t], total, two[2] = {v, -2 * v};
  int sum = Reduce(r).Sum(v);
  __syncthreads();
  int most = Reduce(r).Reduce(v, Greater());
  __syncthreads();
  int first = Reduce(r).Sum(v, 10);
  __syncthreads();
  int pairs = Reduce(r).Sum(two);
  if (t == 0) out[0] = sum, out[1] = most, out[2] = first, out[3] = pairs;
  Scan(s).ExclusiveSum(v, out[10 + t], total);
  __syncthreads();
  Scan(s).InclusiveScan(v, out[110 + t], Less());
  if (t == N - 1) out[4] = total;
  __syncthreads();
  Scan(s).ExclusiveSum(two, two);
  if (t == 1) out[5] = two[0], out[6] = two[1];
  int eight = Few(few[t / W]).Sum(v), inside;
  if (t % W == 0) out[210 + t / W] = eight;
  Warp(warp[t / 32]).ExclusiveSum(v, inside);
  out[230 + t] = inside;
  eight = tile_sum(cg::tiled_partition<W>(cg::this_thread_block()), v);
  if (t % W == 0) out[330 + t / W] = eight;
  if (t) return;
  __half2 a = __float22half2_rn(make_float2(1.5f, -2)), b = __half2half2(__float2half(1.0f)), c = a * b + b;
  __half2 more = __hgt2(a, b), root = h2sqrt(__floats2half2_rn(4, 9));
  f[0] = __low2float(c), f[1] = __high2float(c), f[2] = __low2float(more), f[3] = __high2float(more), f[4] = __hbgt2(a, b);
  f[5] = __high2float(root), f[6] = __low2float(__hmax2(a, b)), f[7] = __high2float(__lowhigh2highlow(a));
  cuFloatComplex z = cuCdivf(cuCmulf(make_cuFloatComplex(1, 2), make_cuFloatComplex(3, -1)), make_cuFloatComplex(0, 1));
  f[8] = cuCrealf(z), f[9] = cuCimagf(z), f[10] = cuCabsf(make_cuFloatComplex(3, 4));
  u[0] = __vmaxs4(0x7f80ff01u, 0x00000002u), u[1] = __vadd2(0xffff0001u, 0x00010001u), u[2] = __vabsdiffu4(0x05000900u, 0x0a000100u);
}
int main() {
  int x[N], *dx, *out, h[430];
  float *df, f[11];
  unsigned *du, u[3];
  for (int i = 0; i < N; i++) x[i] = (i * 37 + 11) % 101 - 50;
  cudaMalloc(&dx, sizeof x), cudaMalloc(&out, sizeof h), cudaMalloc(&df, sizeof f), cudaMalloc(&du, sizeof u);
  cudaMemcpy(dx, x, sizeof x, cudaMemcpyHostToDevice);
  k<<<1, N>>>(dx, out, df, du);
  cudaMemcpy(h, out, sizeof h, cudaMemcpyDeviceToHost);
  cudaMemcpy(f, df, sizeof f, cudaMemcpyDeviceToHost);
  cudaMemcpy(u, du, sizeof u, cudaMemcpyDeviceToHost);
  int sum = 0, first = 0, most = x[0], least = x[0], wrong = 0;
  for (int i = 0, eight = 0, lanes = 0; i < N; i++) {
    wrong += h[10 + i] != sum;
    if (i % 32 == 0) lanes = 0;
    wrong += h[230 + i] != lanes;
    sum += x[i], lanes += x[i], eight += x[i], first += i < 10 ? x[i] : 0;
    most = x[i] > most ? x[i] : most, least = x[i] < least ? x[i] : least;
    wrong += h[110 + i] != least;
    if (i % W == W - 1) wrong += (h[210 + i / W] != eight) + (h[330 + i / W] != eight), eight = 0;
  }
  printf("%d %d %d %d %d %d\\n", wrong, h[0] == sum, h[1] == most, h[2] == first, h[3] == -sum, h[4] == sum);
  printf("%d %d\\n", h[5] == -x[0], h[6] == x[1] - x[0]);
  for (int i = 0; i < 11; i++) printf("%g ", f[i]);
  printf("\\n%08x %08x %08x\\n", u[0], u[1], u[2]);
}
"""
WORKED_OUT = ["0 1 1 1 1 1", "1 1", "2.5 -1 1 0 0 3 1.5 1.5 5 -5 5 ", "7f000002 00000002 05000800"]


@sandboxed
@pytest.mark.parametrize("schedule", [1, 2])
def test_block_and_warp_primitives_pairs_of_half_and_complex_numbers(run, schedule):
    assert run(LIBRARY, schedule).text.splitlines() == WORKED_OUT


@sandboxed
def test_flags_that_only_nvcc_knows_do_not_stop_the_emulator(tools):
    built = build.build("int main() {}", tools["cuda"], ("-DX=1", "--expt-relaxed-constexpr", "-lcublas"), sandbox.probe())
    assert built.program, built.log


@sandboxed
def test_what_uses_more_of_cub_than_is_there_is_not_the_programs_fault(tools):
    code = "#include <cub/cub.cuh>\nint main() { size_t n = 0; int *x = 0; %s; }"
    said = {}
    for call in ("cub::DeviceReduce::Sum(nullptr, n, x, x, 1)", "undeclared()"):
        said[call] = build.build(code % call, tools["cuda"], (), sandbox.probe()).reason
    assert set(said.values()) == {"not_checkable"}, said
    assert build.build("int main() { undeclared(); }", tools["cuda"], (), sandbox.probe()).reason == "compile_error"


@sandboxed
@pytest.mark.slow
def test_nvcc_takes_the_same_library_program():
    tools = toolchain.detect("emulated")["cuda"]
    if not tools.gate:
        pytest.skip("nvcc is not installed")
    built = build.build(HEAD + LIBRARY, tools, (), sandbox.probe())
    assert built.reason == "ok", built.log


# ---- memory and errors -----------------------------------------------------------------------------------------------

ERRORS = """
__global__ void nothing() {}
__global__ void big() { extern __shared__ char s[]; s[0] = 1; }
__global__ void write(int *p, int i) { p[i] = 1; }
#define SAY(x) { cudaError_t e = (x); printf("%s\\n", cudaGetErrorName(e)); }
int main(int argc, char **argv) {
  int *d, *freed, h[4] = {1, 2, 3, 4};
  std::vector<int> heap(100000);
  cudaMalloc(&d, 1000), cudaMalloc(&freed, 4), cudaFree(freed);
  nothing<<<1, 2048>>>();           SAY(cudaPeekAtLastError()) SAY(cudaGetLastError()) SAY(cudaGetLastError())
  nothing<<<0, 1>>>();              SAY(cudaGetLastError())
  nothing<<<dim3(1, 65536), 1>>>(); SAY(cudaGetLastError())
  big<<<1, 1, 50000>>>();           SAY(cudaGetLastError())
  SAY(cudaFuncSetAttribute(big, cudaFuncAttributeMaxDynamicSharedMemorySize, 60000))
  big<<<1, 1, 50000>>>();           SAY(cudaGetLastError())
  SAY(cudaMemcpy(d, h, 16, (cudaMemcpyKind)9))
  SAY(cudaMemcpy(d, h, 16, cudaMemcpyDeviceToHost))
  SAY(cudaMemcpy(d, h, 1016, cudaMemcpyHostToDevice))
  SAY(cudaMemset(h, 0, 16))
  SAY(cudaSetDevice(5))
  SAY(cudaFree(freed))
  SAY(cudaFree(0))
  SAY(cudaGetLastError())
  SAY(cudaMalloc(&freed, 1ull << 50))
  SAY(cudaGetLastError())
  int which = atoi(argv[1]);
  int *bad[] = {d + 250, freed, h, heap.data(), nullptr, d - 1};
  write<<<1, 1>>>(bad[which], 0);   SAY(cudaGetLastError()) SAY(cudaDeviceSynchronize()) SAY(cudaMalloc(&d, 4))
  nothing<<<1, 1>>>();              SAY(cudaGetLastError())
}
"""
EXPECTED = """InvalidConfiguration InvalidConfiguration Success InvalidConfiguration InvalidConfiguration InvalidValue Success Success
InvalidMemcpyDirection InvalidValue InvalidValue InvalidValue InvalidDevice InvalidValue Success InvalidValue MemoryAllocation
MemoryAllocation Success IllegalAddress IllegalAddress IllegalAddress"""


@sandboxed
def test_errors_are_the_runtimes_own_and_faults_stick(tools):
    built = build.build(HEAD + ERRORS, tools["cuda"], (), sandbox.probe())
    assert built.reason == "ok", built.log
    expected = [name if name == "Success" else f"Error{name}" for name in EXPECTED.split()]
    for which in range(6):
        ran = build.execute(built.program, tools["cuda"], (str(which),), LIMITS, sandbox.probe(), {})
        assert [line.removeprefix("cuda") for line in ran.text.splitlines()] == expected, (which, ran.log)
        assert parallel_evidence.of_cuda([ran.proof]).reason == "cuda_error" and "IllegalAddress" in ran.log


SPACES = """
__device__ int variable = 3;
__global__ void show(float *x, double *y, int *z) { printf("%d %d %d\\n", x[0] != x[0], y[0] != y[0], z[0] < 0); }
__global__ void fail(int n) { assert(n < 3); }
__global__ void spin(int *p) { for (;;) atomicAdd(p, 1); }
__global__ void half_barrier(int *p) { if (threadIdx.x < 32) __syncthreads(); else while (atomicAdd(p, 0) == 0) __syncwarp(0); }
int main(int argc, char **argv) {
  int *d;
  cudaMalloc(&d, 64);
  switch (atoi(argv[1])) {
    case 0: show<<<1, 1>>>((float *)d, (double *)d, d); break;
    case 1: return *d;
    case 2: variable = 4; break;
    case 3: fail<<<1, 4>>>(3); printf("%s\\n", cudaGetErrorString(cudaDeviceSynchronize())); break;
    case 4: spin<<<1, 1>>>(d); break;
    case 5: printf("%d\\n", d == nullptr); break;
  }
  cudaDeviceSynchronize();
}
"""


@sandboxed
def test_memory_spaces_are_apart_and_endless_kernels_end(tools):
    built = build.build(HEAD + SPACES, tools["cuda"], (), sandbox.probe())

    def go(case, **env):
        return build.execute(built.program, tools["cuda"], (str(case),), replace(LIMITS, cpu_s=1), sandbox.probe(), env)

    assert go(0).text == "1 1 1\n"  # fresh memory is NaN and negative
    for case in (1, 2):
        assert go(case).reason == "crash" and "host code touched device memory" in go(case).log
    failed = go(3)
    assert failed.text == "device-side assert triggered\n" and "Assertion `n < 3' failed" in failed.log
    assert go(4).reason == "timeout"
    assert parallel_evidence.of_cuda([go(5).proof]).reason == "no_kernel_launch"
    off = go(0, CUDACPU_KERNELS="0")
    assert off.text == "" and off.proof["launches"] == "1"


SWITCHED = """
extern char **environ;
__global__ void who(int *p) { p[blockIdx.x * blockDim.x + threadIdx.x] = 1; __syncthreads(); }
int main() {
  int *p, h[96];
  cudaMalloc(&p, sizeof h);
  cudaMemset(p, 0, sizeof h);
  who<<<3, 32>>>(p);
  cudaMemcpy(h, p, sizeof h, cudaMemcpyDeviceToHost);
  int n = 0, at = -1, seen = 0;
  for (int i = 0; i < 96; i++) if (h[i]) n++, at = i;
  for (char **e = environ; *e; e++) seen += !strncmp(*e, "CUDA", 4) && strstr(*e, "KERN");
  printf("%d %d %d\\n", n, at, seen);
}
"""


@sandboxed
def test_kernels_can_be_switched_off_and_the_program_does_not_see_it(run):
    said = {switch: run(SWITCHED, CUDACPU_KERNELS=switch).text for switch in ("1", "0", "first", "last")}
    assert said == {"1": "96 95 0\n", "0": "0 -1 0\n", "first": "1 0 0\n", "last": "1 95 0\n"}
    assert run(SWITCHED, CUDACPU_KERNELS="last", CUDACPU_SCHEDULE="2").text == "1 95 0\n"


LATE = """
__global__ void fill(int *p) { p[threadIdx.x] = threadIdx.x; }
int main() {
  int *p;
  cudaMallocManaged(&p, 128);
  fill<<<1, 32>>>(p);
  if (WAIT) cudaDeviceSynchronize();
  printf("%d\\n", p[31]);
}
"""


@sandboxed
def test_the_second_schedule_runs_kernels_as_late_as_the_rules_allow(run):
    assert [run("#define WAIT 0" + LATE, s).text for s in (1, 2)] == ["31\n", "0\n"]
    assert [run("#define WAIT 1" + LATE, s).text for s in (1, 2)] == ["31\n", "31\n"]


LOST = """
__global__ void k(int *o, int n) {
  __shared__ int s[2];
  if (threadIdx.x == 0) s[0] = s[1] = 0;
  __syncthreads();
  UPDATE
  __syncthreads();
  if (threadIdx.x == 0 && s[0]) atomicAdd(o, s[0]);
}
int main() {
  int *o, h;
  cudaMalloc(&o, 4), cudaMemset(o, 0, 4);
  k<<<20, 64>>>(o, 5);
  cudaMemcpy(&h, o, 4, cudaMemcpyDeviceToHost);
  printf("%d\\n", h);
}
"""


@sandboxed
@pytest.mark.parametrize(
    "update, right",
    [
        ("atomicAdd(&s[0], 1);", True),
        ("while (atomicCAS(&s[1], 0, 1)) {} s[0] += 1; atomicExch(&s[1], 0);", True),
        ("s[0] += 1;", False),
        ("*o = *o + 1;", False),
        ("(*o)++;", False),
        ("if (threadIdx.x == 0) o[0] += 64;", False),  # only blocks meet
        ("int seen = o[0]; seen++; o[0] = seen;", False),
    ],
)
def test_an_update_without_an_atomic_is_lost_in_the_second_schedule(run, update, right):
    code = LOST.replace("UPDATE", update)
    assert run(code, 1).text == "1280\n"
    assert (run(code, 2).text == "1280\n") == right


# ---- verdicts --------------------------------------------------------------------------------------------------------

SERIAL = """#include <cstdio>
#include <cstdlib>
int main(int argc, char **argv) {
  int n = atoi(argv[1]);
  double *x = (double *)malloc(n * 8);
  for (int i = 0; i < n; i++) x[i] = i * 0.5 + 1;
  for (int i = 0; i < n; i++) printf("x %.6f\\n", x[i / 64 * 64 + (i % 64 + 1) % 64 < n ? i / 64 * 64 + (i % 64 + 1) % 64 : i]);
}
"""
CUDA = """#include <cstdio>
#include <cstdlib>
__global__ void turn(double *x, int n) {
  __shared__ double t[64];
  int i = blockIdx.x * 64 + threadIdx.x;
  if (i < n) t[threadIdx.x] = i * 0.5 + 1;
  __syncthreads();
  int from = (threadIdx.x + 1) % 64;
  if (i < n) x[i] = blockIdx.x * 64 + from < n ? t[from] : t[threadIdx.x];
}
int main(int argc, char **argv) {
  int n = atoi(argv[1]);
  double *x = (double *)malloc(n * 8), *d;
  cudaMalloc(&d, n * 8);
  turn<<<(n + 63) / 64, 64>>>(d, n);
  cudaMemcpy(x, d, n * 8, cudaMemcpyDeviceToHost);
  for (int i = 0; i < n; i++) printf("x %.6f\\n", x[i]);
}
"""
TASK = Task(Kernel("turn", "map", "test", {"serial": SERIAL, "cuda": CUDA}, ("10",), (("1000",), ("77",))), "serial", "cuda")
BODY = CUDA[CUDA.index("  __shared__ double t[64];") : CUDA.index("}\nint main")]
ALL = "for (int i = 0; i < n; i++) { int j = i / 64 * 64 + (i % 64 + 1) % 64; x[i] = (j < n ? j : i) * 0.5 + 1; }\n"
WRONG = {
    "the host's result": (CUDA.replace("  for (int i = 0; i < n; i++) p", f"  {ALL}  for (int i = 0; i < n; i++) p"), "not_parallel"),
    "one of many threads": (CUDA.replace(BODY, "  if (blockIdx.x == 0 && threadIdx.x == 0)\n  " + ALL), "not_parallel"),
    "missing copy back": (CUDA.replace("  cudaMemcpy(x, d", "  if (n < 0) cudaMemcpy(x, d"), "wrong_output"),
    "missing guard": (CUDA.replace("if (i < n) x[i] =", "x[i] ="), "cuda_error"),
    "missing barrier": (CUDA.replace("__syncthreads();", ""), "nondeterministic"),
    "2048 threads": (CUDA.replace("64>>>", "2048>>>"), "cuda_error"),
    "never launched": (CUDA.replace("  turn<<<", "  if (n < 0) turn<<<"), "no_kernel_launch"),
    "no launch in the text": (CUDA.replace("turn<<<(n + 63) / 64, 64>>>(d, n);", ""), "no_kernel_launch"),
    "host pointer": (CUDA.replace("64>>>(d, n)", "64>>>(x, n)"), "cuda_error"),
    "reads device memory": (CUDA.replace("x[i]);\n}", "d[i]);\n}"), "crash"),
    "does not compile": (CUDA.replace("double *d;", "").replace("*d;", ";"), "compile_error"),
    "a library that is not there": ("#include <thrust/sort.h>\n" + CUDA, "not_checkable"),
}


@sandboxed
def test_a_right_program_validates_and_says_that_it_was_emulated(tools):
    verdict = validate.judge(CUDA, TASK, tools, sandbox.probe(), LIMITS)
    assert (verdict.level, verdict.reason) == (5, "ok"), verdict.log
    assert "emulation" in verdict.checked and "cuda-cpu emulation" in verdict.toolchain and rewrite.digest() in verdict.toolchain
    assert verdict.race_free == verdict.faster == "not checked"


@sandboxed
@pytest.mark.parametrize("name", WRONG)
def test_wrong_programs_are_refused_with_the_reason(name, tools):
    code, reason = WRONG[name]
    verdict = validate.judge(code, TASK, tools, sandbox.probe(), LIMITS)
    assert verdict.reason == reason and not verdict.validated, verdict.log


@sandboxed
@pytest.mark.skipif(toolchain.cuda_home() is None, reason="nvcc is not installed")
def test_nvcc_has_the_first_word_where_it_is_installed():
    tools = toolchain.detect("emulated")
    host = CUDA.replace("int main", "int hidden(int i) { return i; }\nint main").replace("i * 0.5 + 1;", "hidden(i) * 0.5 + 1;")
    verdict = validate.judge(host, TASK, tools, sandbox.probe(), LIMITS)  # g++ alone would take it
    assert (verdict.level, verdict.reason) == (1, "compile_error") and "hidden" in verdict.log
    inline = CUDA.replace("__syncthreads();", 'asm volatile("bar.sync 0;");')
    verdict = validate.judge(inline, TASK, tools, sandbox.probe(), LIMITS)
    assert (verdict.level, verdict.reason) == (2, "not_checkable") and "inline PTX" in verdict.log


@sandboxed
@pytest.mark.parametrize("name", ["bitonic", "histo", "prefixsum"])
def test_bundled_programs_agree_with_their_serial_twins(name, tools):
    kernel = next(k for k in load_suite(Suite()) if k.name == name)
    kernel = replace(kernel, hidden_args=kernel.hidden_args[-1:])
    verdict = validate.judge(kernel.sources["cuda"], Task(kernel, "serial", "cuda"), tools, sandbox.probe(), LIMITS)
    assert verdict.validated, (verdict.reason, verdict.log)


@sandboxed
@pytest.mark.parametrize("seed", [4, 17])
def test_forge_programs_agree_with_their_serial_twins(seed, tools):
    kernel = generator.as_kernel(generator.sample(seed, generator.ALL_FAMILIES))
    verdict = validate.judge(kernel.sources["cuda"], Task(kernel, "serial", "cuda"), tools, sandbox.probe(), LIMITS)
    assert verdict.validated, (verdict.reason, verdict.log)


# ---- which toolchain -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(bool(toolchain.gpu_name()), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused_in_one_line():
    with pytest.raises(UserError, match="validation.cuda: gpu needs a GPU") as error:
        toolchain.detect("gpu")
    assert "\n" not in str(error.value)
    assert toolchain.detect()["cuda"].emulated and not toolchain.detect("compile")["cuda"].can_run


def test_the_emulators_text_is_part_of_the_key(monkeypatch):
    tools = toolchain.detect("emulated")
    monkeypatch.setattr(rewrite, "digest", lambda: "other")
    assert toolchain.detect("emulated")["cuda"].version != tools["cuda"].version
    assert os.path.isfile(rewrite.HEADERS / "runtime.cpp")
