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

__global__ void scale(int n, int k, double *a) {
  int i = k + 1 + blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) a[i * n + k] /= a[k * n + k];
}

__global__ void update(int n, int k, double *a) {
  int j = k + 1 + blockIdx.x * blockDim.x + threadIdx.x;
  int i = k + 1 + blockIdx.y * blockDim.y + threadIdx.y;
  if (i < n && j < n) a[i * n + j] -= a[i * n + k] * a[k * n + j];
}

__global__ void forward(int n, int k, const double *a, double *x) {
  int i = k + 1 + blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] -= a[i * n + k] * x[k];
}

__global__ void backward(int n, int k, const double *a, double *x) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < k) x[i] -= a[i * n + k] * (x[k] / a[k * n + k]);
}

__global__ void divide(int n, const double *a, double *x) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] /= a[i * n + i];
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 40;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<double> a(n * n), x(n);
  for (auto &v : a) v = rnd();
  for (auto &v : x) v = n * (1 + rnd());
  for (int i = 0; i < n; i++) a[i * n + i] += n;
  double *d_a, *d_x;
  cudaMalloc(&d_a, n * n * sizeof(double));
  cudaMalloc(&d_x, n * sizeof(double));
  cudaMemcpy(d_a, a.data(), n * n * sizeof(double), cudaMemcpyHostToDevice);
  cudaMemcpy(d_x, x.data(), n * sizeof(double), cudaMemcpyHostToDevice);
  int blocks = (n + 127) / 128;
  dim3 block(32, 8), grid((n + 31) / 32, (n + 7) / 8);
  for (int k = 0; k < n - 1; k++) {
    scale<<<blocks, 128>>>(n, k, d_a);
    update<<<grid, block>>>(n, k, d_a);
  }
  for (int k = 0; k < n - 1; k++) forward<<<blocks, 128>>>(n, k, d_a, d_x);
  for (int k = n - 1; k > 0; k--) backward<<<blocks, 128>>>(n, k, d_a, d_x);
  divide<<<blocks, 128>>>(n, d_a, d_x);
  cudaMemcpy(a.data(), d_a, n * n * sizeof(double), cudaMemcpyDeviceToHost);
  cudaMemcpy(x.data(), d_x, n * sizeof(double), cudaMemcpyDeviceToHost);
  report("lu", a);
  report("x", x);
  cudaFree(d_a);
  cudaFree(d_x);
  return 0;
}
