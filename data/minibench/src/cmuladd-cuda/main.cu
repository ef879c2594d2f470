#include <cmath>
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

__global__ void cmuladd(int n, const double *x, const double *y, double *z) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) {
    double xr = x[2 * i], xi = x[2 * i + 1];
    double yr = y[2 * i], yi = y[2 * i + 1];
    z[2 * i] += xr * yr - xi * yi;
    z[2 * i + 1] += xr * yi + xi * yr;
  }
}

__global__ void magnitude(int n, const double *z, double *m) {
  int j = blockIdx.x * blockDim.x + threadIdx.x;
  if (j < n) m[j] = sqrt(z[2 * j] * z[2 * j] + z[2 * j + 1] * z[2 * j + 1]);
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<double> x(2 * n), y(2 * n), z(2 * n), m(n);
  for (auto &v : x) v = rnd();
  for (auto &v : y) v = rnd();
  for (auto &v : z) v = rnd() + 2;
  size_t bytes = 2 * n * sizeof(double);
  double *d_x, *d_y, *d_z, *d_m;
  cudaMalloc(&d_x, bytes);
  cudaMalloc(&d_y, bytes);
  cudaMalloc(&d_z, bytes);
  cudaMalloc(&d_m, n * sizeof(double));
  cudaMemcpy(d_x, x.data(), bytes, cudaMemcpyHostToDevice);
  cudaMemcpy(d_y, y.data(), bytes, cudaMemcpyHostToDevice);
  cudaMemcpy(d_z, z.data(), bytes, cudaMemcpyHostToDevice);
  int blocks = (n + 255) / 256;
  for (int t = 0; t < 4; t++) cmuladd<<<blocks, 256>>>(n, d_x, d_y, d_z);
  magnitude<<<blocks, 256>>>(n, d_z, d_m);
  cudaMemcpy(z.data(), d_z, bytes, cudaMemcpyDeviceToHost);
  cudaMemcpy(m.data(), d_m, n * sizeof(double), cudaMemcpyDeviceToHost);
  report("z", z);
  report("m", m);
  cudaFree(d_x);
  cudaFree(d_y);
  cudaFree(d_z);
  cudaFree(d_m);
  return 0;
}
