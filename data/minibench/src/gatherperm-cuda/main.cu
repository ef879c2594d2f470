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

__global__ void gatherperm(int n, double c, const int *p, const double *x, double *y) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = x[p[i]] + c * x[i];
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<int> p(n);
  std::vector<double> x(n), y(n);
  for (int i = 0; i < n; i++) {
    int j = rnd() * (i + 1);
    p[i] = p[j];
    p[j] = i;
  }
  for (auto &v : x) v = rnd();
  int *d_p;
  double *d_x, *d_y;
  cudaMalloc(&d_p, n * sizeof(int));
  cudaMalloc(&d_x, n * sizeof(double));
  cudaMalloc(&d_y, n * sizeof(double));
  cudaMemcpy(d_p, p.data(), n * sizeof(int), cudaMemcpyHostToDevice);
  cudaMemcpy(d_x, x.data(), n * sizeof(double), cudaMemcpyHostToDevice);
  for (int t = 0; t < 5; t++) {
    gatherperm<<<(n + 255) / 256, 256>>>(n, 0.25, d_p, d_x, d_y);
    std::swap(d_x, d_y);
  }
  cudaMemcpy(x.data(), d_x, n * sizeof(double), cudaMemcpyDeviceToHost);
  report("x", x);
  cudaFree(d_p);
  cudaFree(d_x);
  cudaFree(d_y);
  return 0;
}
