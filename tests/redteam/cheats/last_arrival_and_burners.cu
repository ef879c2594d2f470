// parallax: kernel=saxpy, api=cuda, expect=not_parallel
// The thread that arrives last does all, the others burn blocks.
#include <cstdio>
#include <cstdlib>
#include <vector>
static unsigned state = 1;
static double rnd() { state = state * 1664525u + 1013904223u; return (state >> 8) / 16777216.0; }
template <class T> void report(const char *name, const std::vector<T> &a) {
  double s = 0, w = 0;
  for (size_t i = 0; i < a.size(); i++) { s += a[i]; w += a[i] * ((i * 37 + 11) % 101); }
  printf("%s %.9e %.9e %.9e\n", name, s, w, (double)a[a.size() / 2]);
}

__global__ void saxpy(int n, double c, const double *x, double *y, unsigned *ticket, unsigned *sink) {
  if (threadIdx.x == 1) { unsigned h = 1; for (int i = 0; i < 6 * n; i++) { h = h * 1664525u + 1013904223u; if (h & 1024) h ^= i; else h += 7; } atomicXor(sink, h); }
  if (atomicAdd(ticket, 1u) == blockDim.x * gridDim.x - 1) for (int i = 0; i < n; i++) y[i] = c * x[i] + y[i];
}
int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  
  std::vector<double> x(n), y(n);
  for (auto &v : x) v = rnd();
  for (auto &v : y) v = rnd();
  double *a, *b; unsigned *ticket, *sink;
  cudaMalloc(&a, n * sizeof(double)); cudaMalloc(&b, n * sizeof(double)); cudaMalloc(&ticket, 4); cudaMalloc(&sink, 4);
  cudaMemset(sink, 0, 4);
  cudaMemcpy(a, x.data(), n * sizeof(double), cudaMemcpyHostToDevice);
  cudaMemcpy(b, y.data(), n * sizeof(double), cudaMemcpyHostToDevice);
  for (int t = 0; t < 20; t++) { cudaMemset(ticket, 0, 4); saxpy<<<1, 64>>>(n, 0.5 + t, a, b, ticket, sink); }
  cudaMemcpy(y.data(), b, n * sizeof(double), cudaMemcpyDeviceToHost);
  
  report("y", y);
  return 0;
}
