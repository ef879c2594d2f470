// parallax: kernel=jacobi1d, api=cuda, expect=ok
// A tile with halo in shared memory.
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

static unsigned state = 1;
static double rnd() { state = state * 1664525u + 1013904223u; return (state >> 8) / 16777216.0; }

template <class T> void report(const char *name, const std::vector<T> &a) {
  double s = 0, w = 0;
  for (size_t i = 0; i < a.size(); i++) { s += a[i]; w += a[i] * ((i * 37 + 11) % 101); }
  printf("%s %.9e %.9e %.9e\n", name, s, w, (double)a[a.size() / 2]);
}

__global__ void jacobi1d(int n, const double *a, double *b) {
  __shared__ double s[258];
  int t = threadIdx.x, i = blockIdx.x * blockDim.x + t;
  for (int k = t; k < blockDim.x + 2; k += blockDim.x) {
    int j = (int)(blockIdx.x * blockDim.x) + k - 1;
    s[k] = j >= 0 && j < n ? a[j] : 0;
  }
  __syncthreads();
  if (i > 0 && i < n - 1) b[i] = (s[t] + s[t + 1] + s[t + 2]) / 3;
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<double> a(n), b(n);
  for (auto &v : a) v = rnd();
  b = a;
  double *d_a, *d_b;
  cudaMalloc(&d_a, n * sizeof(double));
  cudaMalloc(&d_b, n * sizeof(double));
  cudaMemcpy(d_a, a.data(), n * sizeof(double), cudaMemcpyHostToDevice);
  cudaMemcpy(d_b, b.data(), n * sizeof(double), cudaMemcpyHostToDevice);
  for (int t = 0; t < 60; t++) {
    jacobi1d<<<(n + 255) / 256, 256>>>(n, d_a, d_b);
    std::swap(d_a, d_b);
  }
  cudaMemcpy(a.data(), d_a, n * sizeof(double), cudaMemcpyDeviceToHost);
  report("a", a);
  cudaFree(d_a);
  cudaFree(d_b);
  return 0;
}
