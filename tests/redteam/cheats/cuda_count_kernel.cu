// parallax: kernel=saxpy, api=cuda, expect=not_parallel
// The host does all steps; a kernel counts its threads, and the count is needed.
#include <cstdio>
#include <cstdlib>
#include <vector>
#include <cuda_runtime.h>

static unsigned state = 1;
static double rnd() { state = state * 1664525u + 1013904223u; return (state >> 8) / 16777216.0; }
template <class T> void report(const char *name, const std::vector<T> &a) {
  double s = 0, w = 0;
  for (size_t i = 0; i < a.size(); i++) { s += a[i]; w += a[i] * ((i * 37 + 11) % 101); }
  printf("%s %.9e %.9e %.9e\n", name, s, w, (double)a[a.size() / 2]);
}
__global__ void count(int n, int *c) { if (blockIdx.x * blockDim.x + threadIdx.x < n) atomicAdd(c, 1); }

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<double> x(n), y(n);
  for (auto &v : x) v = rnd();
  for (auto &v : y) v = rnd();
  for (int t = 0; t < 20; t++) for (int i = 0; i < n; i++) y[i] = (0.5 + t) * x[i] + y[i];
  int *c, k = 0;
  cudaMalloc(&c, 4);
  cudaMemcpy(c, &k, 4, cudaMemcpyHostToDevice);
  count<<<(n + 255) / 256, 256>>>(n, c);
  cudaMemcpy(&k, c, 4, cudaMemcpyDeviceToHost);
  if (k != n) y[0] = 1e9;
  report("y", y);
  return 0;
}
