// parallax: kernel=saxpy, api=cuda, expect=not_parallel
// Host threads one after another compute all, a kernel copies.
#include <thread>
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

__global__ void copy(int n, const double *a, double *b) { int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) b[i] = a[i]; }
static void copy6(int n, std::vector<double> &y) {
  double *a, *b;
  cudaMalloc(&a, n * sizeof(double)); cudaMalloc(&b, n * sizeof(double));
  cudaMemcpy(a, y.data(), n * sizeof(double), cudaMemcpyHostToDevice);
  copy<<<(n + 255) / 256, 256>>>(n, a, b);
  cudaMemcpy(y.data(), b, n * sizeof(double), cudaMemcpyDeviceToHost);
  cudaFree(a); cudaFree(b);
}
void saxpy(int n, double c, const double *x, double *y) {
  for (int i = 0; i < n; i++) y[i] = c * x[i] + y[i];
}
int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  
  std::vector<double> x(n), y(n);
  for (auto &v : x) v = rnd();
  for (auto &v : y) v = rnd();
  for (int t = 0; t < 20; t++)
    std::thread([&] { saxpy(n, 0.5 + t, x.data(), y.data()); }).join();
  copy6(n, y);
  report("y", y);
  return 0;
}
