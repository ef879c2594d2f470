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

__global__ void multiply(int m, const double *a, const double *x, double *y) {
  __shared__ double part[128];
  int i = blockIdx.x, t = threadIdx.x;
  double sum = 0;
  for (int j = t; j < m; j += blockDim.x) sum += a[i * m + j] * x[j];
  part[t] = sum;
  __syncthreads();
  for (int h = blockDim.x / 2; h > 0; h /= 2) {
    if (t < h) part[t] += part[t + h];
    __syncthreads();
  }
  if (t == 0) y[i] = 2.0 * part[0] / m;
}

__global__ void transpose_multiply(int n, int m, const double *a, const double *y, double *x) {
  int j = blockIdx.x * blockDim.x + threadIdx.x;
  if (j < m) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += a[i * m + j] * y[i];
    x[j] = 2.0 * sum / n;
  }
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 120;
  state = argc > 2 ? atoi(argv[2]) : 1;
  int m = n / 2 + 3, steps = 10;
  std::vector<double> a(n * m), x(m), y(n);
  for (auto &v : a) v = rnd();
  for (auto &v : x) v = rnd();
  double *d_a, *d_x, *d_y;
  cudaMalloc(&d_a, a.size() * sizeof(double));
  cudaMalloc(&d_x, m * sizeof(double));
  cudaMalloc(&d_y, n * sizeof(double));
  cudaMemcpy(d_a, a.data(), a.size() * sizeof(double), cudaMemcpyHostToDevice);
  cudaMemcpy(d_x, x.data(), m * sizeof(double), cudaMemcpyHostToDevice);
  for (int s = 0; s < steps; s++) {
    multiply<<<n, 128>>>(m, d_a, d_x, d_y);
    transpose_multiply<<<(m + 127) / 128, 128>>>(n, m, d_a, d_y, d_x);
  }
  cudaMemcpy(x.data(), d_x, m * sizeof(double), cudaMemcpyDeviceToHost);
  cudaMemcpy(y.data(), d_y, n * sizeof(double), cudaMemcpyDeviceToHost);
  report("x", x);
  report("y", y);
  cudaFree(d_a);
  cudaFree(d_x);
  cudaFree(d_y);
  return 0;
}
