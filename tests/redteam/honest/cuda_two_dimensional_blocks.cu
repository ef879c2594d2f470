// parallax: kernel=heat2d, api=cuda, expect=ok
// Blocks of 32 by 8 with the guard turned round.
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

__global__ void heat2d(int n, double k, const double *u, double *v) {
  int j = blockIdx.x * blockDim.x + threadIdx.x + 1;
  int i = blockIdx.y * blockDim.y + threadIdx.y + 1;
  if (i >= n - 1 || j >= n - 1) return;
  {
    double c = u[i * n + j];
    double around = u[(i - 1) * n + j] + u[(i + 1) * n + j] + u[i * n + j - 1] + u[i * n + j + 1];
    v[i * n + j] = c + k * (around - 4 * c);
  }
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 64;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<double> u(n * n), v(n * n);
  for (auto &p : u) p = 10 * rnd();
  v = u;
  size_t bytes = u.size() * sizeof(double);
  double *d_u, *d_v;
  cudaMalloc(&d_u, bytes);
  cudaMalloc(&d_v, bytes);
  cudaMemcpy(d_u, u.data(), bytes, cudaMemcpyHostToDevice);
  cudaMemcpy(d_v, v.data(), bytes, cudaMemcpyHostToDevice);
  dim3 block(32, 8), grid((n + 31) / 32, (n + 7) / 8, 1);
  for (int t = 0; t < 50; t++) {
    heat2d<<<grid, block>>>(n, 0.2, d_u, d_v);
    std::swap(d_u, d_v);
  }
  cudaMemcpy(u.data(), d_u, bytes, cudaMemcpyDeviceToHost);
  report("u", u);
  cudaFree(d_u);
  cudaFree(d_v);
  return 0;
}
