// parallax: kernel=dotprod, api=cuda, expect=ok
// A reduction by the toolkit's cub.
#include <cstdio>
#include <cstdlib>
#include <cub/cub.cuh>
#include <vector>

static unsigned state = 1;
static double rnd() { state = state * 1664525u + 1013904223u; return (state >> 8) / 16777216.0; }

template <class T> void report(const char *name, const std::vector<T> &a) {
  double s = 0, w = 0;
  for (size_t i = 0; i < a.size(); i++) { s += a[i]; w += a[i] * ((i * 37 + 11) % 101); }
  printf("%s %.9e %.9e %.9e\n", name, s, w, (double)a[a.size() / 2]);
}

__global__ void dotprod(int n, const double *x, const double *y, double *out) {
  double sum = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) sum += x[i] * y[i];
  typedef cub::BlockReduce<double, 256> Reduce;
  __shared__ typename Reduce::TempStorage room;
  const double whole = Reduce(room).Sum(sum);
  if (threadIdx.x == 0) atomicAdd(out, whole);
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  int lags = 32;
  std::vector<double> x(n), y(n + lags), r(lags);
  for (auto &v : x) v = rnd();
  for (auto &v : y) v = rnd();
  double *d_x, *d_y, *d_r;
  cudaMalloc(&d_x, n * sizeof(double));
  cudaMalloc(&d_y, (n + lags) * sizeof(double));
  cudaMalloc(&d_r, lags * sizeof(double));
  cudaMemcpy(d_x, x.data(), n * sizeof(double), cudaMemcpyHostToDevice);
  cudaMemcpy(d_y, y.data(), (n + lags) * sizeof(double), cudaMemcpyHostToDevice);
  cudaMemset(d_r, 0, lags * sizeof(double));
  for (int k = 0; k < lags; k++) dotprod<<<256, 256>>>(n, d_x, d_y + k, d_r + k);
  cudaMemcpy(r.data(), d_r, lags * sizeof(double), cudaMemcpyDeviceToHost);
  report("r", r);
  cudaFree(d_x);
  cudaFree(d_y);
  cudaFree(d_r);
  return 0;
}
