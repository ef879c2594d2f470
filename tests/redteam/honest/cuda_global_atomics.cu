// parallax: kernel=histo, api=cuda, expect=ok
// Atomics on global memory only.
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

__global__ void histo(int n, int bins, int shift, const double *x, int *h) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
    atomicAdd(&h[((int)(x[i] * bins) + shift) % bins], 1);
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  int bins = 64;
  std::vector<double> x(n);
  std::vector<int> h(bins);
  for (auto &v : x) v = rnd() * rnd();
  double *d_x;
  int *d_h;
  cudaMalloc(&d_x, n * sizeof(double));
  cudaMalloc(&d_h, bins * sizeof(int));
  cudaMemcpy(d_x, x.data(), n * sizeof(double), cudaMemcpyHostToDevice);
  cudaMemset(d_h, 0, bins * sizeof(int));
  for (int t = 0; t < 16; t++) histo<<<128, 256>>>(n, bins, t, d_x, d_h);
  cudaMemcpy(h.data(), d_h, bins * sizeof(int), cudaMemcpyDeviceToHost);
  report("h", h);
  cudaFree(d_x);
  cudaFree(d_h);
  return 0;
}
