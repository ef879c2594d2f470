// parallax: kernel=saxpy, api=cuda, expect=ok
// The host fills tables of a fixed size before the kernels run.
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
__global__ void step(int n, double c, const double *x, double *y) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = c * x[i] + y[i];
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<double> x(n), y(n);
  for (auto &v : x) v = rnd();
  for (auto &v : y) v = rnd();
  std::vector<double> table(8000000);
  for (size_t i = 1; i < table.size(); i++) table[i] = table[i - 1] * 0.5 + i % 7;
  y[0] += table[0];
  double *p, *q;
  cudaMalloc(&p, n * 8L);
  cudaMalloc(&q, n * 8L);
  cudaMemcpy(p, x.data(), n * 8L, cudaMemcpyHostToDevice);
  cudaMemcpy(q, y.data(), n * 8L, cudaMemcpyHostToDevice);
  for (int t = 0; t < 20; t++) step<<<(n + 255) / 256, 256>>>(n, 0.5 + t, p, q);
  cudaMemcpy(y.data(), q, n * 8L, cudaMemcpyDeviceToHost);
  report("y", y);
  return 0;
}
