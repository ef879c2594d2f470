// parallax: kernel=saxpy, api=cuda, expect=not_parallel|timeout, needs=cuda
// The last of many device threads does everything.
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

__global__ void saxpy(int n, double c, const double *x, double *y) {
  if (blockIdx.x == gridDim.x - 1 && threadIdx.x == blockDim.x - 1)
    for (int i = 0; i < n; i++) y[i] = c * x[i] + y[i];
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<double> x(n), y(n);
  for (auto &v : x) v = rnd();
  for (auto &v : y) v = rnd();
  double *d_x, *d_y;
  cudaMalloc(&d_x, n * sizeof(double));
  cudaMalloc(&d_y, n * sizeof(double));
  cudaMemcpy(d_x, x.data(), n * sizeof(double), cudaMemcpyHostToDevice);
  cudaMemcpy(d_y, y.data(), n * sizeof(double), cudaMemcpyHostToDevice);
  for (int t = 0; t < 20; t++) saxpy<<<16, 256>>>(n, 0.5 + t, d_x, d_y);
  cudaMemcpy(y.data(), d_y, n * sizeof(double), cudaMemcpyDeviceToHost);
  report("y", y);
  cudaFree(d_x);
  cudaFree(d_y);
  return 0;
}
