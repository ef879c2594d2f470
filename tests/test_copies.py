"""What comes back from a GPU, looked at by wrapped calls: with a stand-in for CUDA's runtime whose device memory is the host's heap."""

import os
import signal
import subprocess

import pytest

from parallax_lib.verdict import cuda_link, harness, result_buffers

DRIVER = """#include <dlfcn.h>
extern "C" int cuPointerGetAttribute(void *kind, int, unsigned long p) {
  static const auto is_device = (bool (*)(unsigned long))dlsym(RTLD_DEFAULT, "is_device");
  if (!is_device(p)) return 1;
  *(unsigned *)kind = 2;
  return 0;
}
"""
RUNTIME = """#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <functional>
#include <map>
#include <vector>
struct dim3 { unsigned x, y, z; };
static std::map<unsigned long, size_t> device;
static std::vector<std::function<void()>> waiting;
static int wait() {
  for (auto &work : waiting) work();
  waiting.clear();
  return 0;
}
extern "C" bool is_device(unsigned long p) {
  auto next = device.upper_bound(p);
  return next != device.begin() && p < (--next)->first + next->second;
}
extern "C" int cudaMalloc(void **p, size_t n) {
  static void *driver = dlopen("libcuda.so.1", RTLD_NOW);
  (void)driver, *p = calloc(1, n), device[(unsigned long)*p] = n;
  return 0;
}
extern "C" int cudaMallocManaged(void **p, size_t n, unsigned) { *p = calloc(1, n); return 0; }
extern "C" int cudaFree(void *p) { wait(), device.erase((unsigned long)p), free(p); return 0; }
extern "C" int cudaMemcpy(void *to, const void *from, size_t n, int) { wait(), memcpy(to, from, n); return 0; }
extern "C" int cudaMemcpyAsync(void *to, const void *from, size_t n, int, void *) {
  waiting.push_back([=] { memcpy(to, from, n); });
  return 0;
}
extern "C" int cudaMemcpy2D(void *to, size_t tp, const void *from, size_t fp, size_t width, size_t rows, int) {
  for (size_t i = 0; i < rows; i++) memcpy((char *)to + i * tp, (const char *)from + i * fp, width);
  return 0;
}
extern "C" int cudaMemcpyFromSymbol(void *to, const void *symbol, size_t n, size_t at, int) {
  memcpy(to, (const char *)symbol + at, n);
  return 0;
}
extern "C" int cudaLaunchKernel(const void *, dim3, dim3, void **, size_t, void *) { return 0; }
extern "C" int cudaGetLastError() { return 0; }
extern "C" int cudaDeviceSynchronize() { return wait(); }
extern "C" int cudaStreamSynchronize(void *) { return wait(); }
"""
PROGRAM = """#include <cstdlib>
#include <cstring>
struct dim3 { unsigned x, y, z; };
extern "C" int cudaMalloc(void **, size_t), cudaMallocManaged(void **, size_t, unsigned), cudaFree(void *);
extern "C" int cudaMemcpy(void *, const void *, size_t, int), cudaMemcpyAsync(void *, const void *, size_t, int, void *);
extern "C" int cudaMemcpy2D(void *, size_t, const void *, size_t, size_t, size_t, int);
extern "C" int cudaMemcpyFromSymbol(void *, const void *, size_t, size_t, int), cudaStreamSynchronize(void *), cudaDeviceSynchronize();
extern "C" int cudaLaunchKernel(const void *, dim3, dim3, void **, size_t, void *);
enum { N = 1024, TO_DEVICE = 1, TO_HOST = 2, ANY = 4 };
int main() {
  const char how = getenv("HOW")[0];
  float *host = (float *)malloc(N * 4), *there;
  if (how == 'm') cudaMallocManaged((void **)&there, N * 4, 1);
  else cudaMalloc((void **)&there, N * 4);
  for (int i = 0; i < N; i++) host[i] = 0;
  cudaMemcpy(there, host, N * 4, how == 'd' ? ANY : TO_DEVICE);
  cudaLaunchKernel(0, {1, 1, 1}, {1, 1, 1}, 0, 0, 0);
  for (int i = 0; i < N; i++) there[i] = i * 0.5f - (how == 'w' && i == 1000 ? 100 : 0);  // what the kernel does
  if (how == 'a') cudaMemcpyAsync(host, there, N * 4, TO_HOST, 0), cudaStreamSynchronize(0);
  else if (how == 'l') cudaMemcpyAsync(host, there, N * 4, TO_HOST, 0), cudaDeviceSynchronize();
  else if (how == '2') cudaMemcpy2D(host, 64, there, 64, 64, N / 16, TO_HOST);
  else if (how == 's') cudaMemcpyFromSymbol(host, there, N * 4, 0, TO_HOST);
  else if (how != 'm') cudaMemcpy(host, there, N * 4, how == 'd' ? ANY : TO_HOST);
  memset(host, 0, N * 4);
  if (how != 'e') cudaFree(there);
}
"""
CALLS = ("cudaMalloc", "cudaFree", "cudaLaunchKernel", "cudaMemcpy", "cudaMemcpyAsync", "cudaMemcpy2D", "cudaMemcpyFromSymbol",
         "cudaMallocManaged", "cudaDeviceSynchronize", "cudaStreamSynchronize")  # fmt: skip


@pytest.fixture(scope="module")
def given_back(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copies")
    texts = {"driver": DRIVER, "runtime": RUNTIME, "main": PROGRAM}
    texts["marker"] = "".join((harness.PROBES / name).read_text() for name in harness.MARKER)
    texts["proof"] = "".join((harness.PROBES / name).read_text() for name in (*harness.PROOFS["cuda"], "copies.cpp"))
    for name, text in texts.items():
        (folder / f"{name}.cpp").write_text(text)
    assert set(CALLS) <= {*cuda_link.WRAPPED, *cuda_link.COPIED}
    for command in (
        ["-shared", "-fPIC", "driver.cpp", "-o", "libcuda.so.1", "-Wl,-soname,libcuda.so.1"],
        ["-shared", "-fPIC", "runtime.cpp", "-o", "libruntime.so"],
        ["-c", "proof.cpp", "-o", "proof.o", *(f"-DUSES_{name}" for name in CALLS)],
        ["-c", "-Wall", "-Werror", "marker.cpp", "-o", "marker.o"],
        ["main.cpp", "marker.o", "proof.o", "-o", "program", *(f"-Wl,--wrap={name}" for name in CALLS), "-L.", "-lruntime", "-Wl,-rpath,."],
    ):
        subprocess.run(["g++", "-O2", "-std=c++17", *command], cwd=folder, check=True)

    def run(how: str) -> tuple[result_buffers.Buffer, ...]:
        pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
        env = {**os.environ, "LD_LIBRARY_PATH": ".", "HOW": how}
        with subprocess.Popen(["./program"], cwd=folder, env=env, text=True, **pipes) as process:
            process.stdin.write("0" * 32)
            process.stdin.close()
            if os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT).si_code == os.CLD_STOPPED:
                process.send_signal(signal.SIGCONT)
            said = process.stdout.read()
        assert process.returncode == 0
        return result_buffers.read(said.partition(f"@results {'0' * 32} ")[2].partition("\n@end")[0])

    return run


@pytest.mark.parametrize("how", "0ald2se")
def test_every_way_back_is_looked_at(given_back, how):
    expected = result_buffers.learn([given_back("0")] * 2)
    assert [str(b) for b in expected] == ["1024 floats"]
    assert result_buffers.compare(expected, given_back(how)) == result_buffers.Found(1, 1, ("1024 floats",))


def test_managed_memory_stands_for_a_copy_and_a_wrong_value_shows(given_back):
    expected = result_buffers.learn([given_back("0")] * 2)
    (shared,) = given_back("m")
    assert shared.how == "m" and result_buffers.compare(expected, (shared,)).compared == 1
    assert "elements 960 to 1023 differ" in result_buffers.compare(expected, given_back("w")).difference
