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

__global__ void lap3d(int n, double h, const double *u, double *v) {
  int k = blockIdx.x * blockDim.x + threadIdx.x + 1;
  int j = blockIdx.y * blockDim.y + threadIdx.y + 1;
  int i = blockIdx.z * blockDim.z + threadIdx.z + 1;
  if (i < n - 1 && j < n - 1 && k < n - 1) {
    int p = (i * n + j) * n + k;
    double near = u[p - 1] + u[p + 1] + u[p - n] + u[p + n] + u[p - n * n] + u[p + n * n];
    v[p] = u[p] + h * (near - 6 * u[p]);
  }
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 16;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<double> u(n * n * n), v(n * n * n);
  for (auto &p : u) p = rnd() + 1;
  v = u;
  size_t bytes = u.size() * sizeof(double);
  double *d_u, *d_v;
  cudaMalloc(&d_u, bytes);
  cudaMalloc(&d_v, bytes);
  cudaMemcpy(d_u, u.data(), bytes, cudaMemcpyHostToDevice);
  cudaMemcpy(d_v, v.data(), bytes, cudaMemcpyHostToDevice);
  dim3 block(16, 4, 4), grid((n + 15) / 16, (n + 3) / 4, (n + 3) / 4);
  for (int t = 0; t < 10; t++) {
    lap3d<<<grid, block>>>(n, 0.1, d_u, d_v);
    std::swap(d_u, d_v);
  }
  cudaMemcpy(u.data(), d_u, bytes, cudaMemcpyDeviceToHost);
  report("u", u);
  cudaFree(d_u);
  cudaFree(d_v);
  return 0;
}
