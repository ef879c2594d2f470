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

__global__ void phase(int n, int first, double *a, int *swaps) {
  int i = first + 2 * (blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n - 1 && a[i] > a[i + 1]) {
    double t = a[i];
    a[i] = a[i + 1];
    a[i + 1] = t;
    atomicAdd(swaps, 1);
  }
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 200;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<double> a(n);
  std::vector<int> swaps(n);
  for (auto &v : a) v = rnd();
  double *d_a;
  int *d_swaps;
  cudaMalloc(&d_a, n * sizeof(double));
  cudaMalloc(&d_swaps, n * sizeof(int));
  cudaMemcpy(d_a, a.data(), n * sizeof(double), cudaMemcpyHostToDevice);
  cudaMemset(d_swaps, 0, n * sizeof(int));
  int blocks = (n / 2 + 255) / 256;
  for (int s = 0; s < n; s++) phase<<<blocks, 256>>>(n, s % 2, d_a, d_swaps + s);
  cudaMemcpy(a.data(), d_a, n * sizeof(double), cudaMemcpyDeviceToHost);
  cudaMemcpy(swaps.data(), d_swaps, n * sizeof(int), cudaMemcpyDeviceToHost);
  report("a", a);
  report("swaps", swaps);
  cudaFree(d_a);
  cudaFree(d_swaps);
  return 0;
}
