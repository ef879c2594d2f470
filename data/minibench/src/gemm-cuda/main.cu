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

const int TILE = 16;

__global__ void gemm(int n, int m, int k, double alpha, const double *a, const double *b, double beta, double *c) {
  __shared__ double sa[TILE][TILE], sb[TILE][TILE];
  int x = threadIdx.x, y = threadIdx.y;
  int i = blockIdx.y * TILE + y, j = blockIdx.x * TILE + x;
  double sum = 0;
  for (int t = 0; t < k; t += TILE) {
    sa[y][x] = i < n && t + x < k ? a[i * k + t + x] : 0;
    sb[y][x] = j < m && t + y < k ? b[(t + y) * m + j] : 0;
    __syncthreads();
    for (int l = 0; l < TILE; l++) sum += sa[y][l] * sb[l][x];
    __syncthreads();
  }
  if (i < n && j < m) c[i * m + j] = alpha * sum + beta * c[i * m + j];
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 48;
  state = argc > 2 ? atoi(argv[2]) : 1;
  int m = n + 5, k = n - n / 4;
  std::vector<double> a(n * k), b(k * m), c(n * m);
  for (auto &v : a) v = rnd();
  for (auto &v : b) v = rnd();
  for (auto &v : c) v = rnd();
  double *d_a, *d_b, *d_c;
  cudaMalloc(&d_a, a.size() * sizeof(double));
  cudaMalloc(&d_b, b.size() * sizeof(double));
  cudaMalloc(&d_c, c.size() * sizeof(double));
  cudaMemcpy(d_a, a.data(), a.size() * sizeof(double), cudaMemcpyHostToDevice);
  cudaMemcpy(d_b, b.data(), b.size() * sizeof(double), cudaMemcpyHostToDevice);
  cudaMemcpy(d_c, c.data(), c.size() * sizeof(double), cudaMemcpyHostToDevice);
  dim3 block(TILE, TILE), grid((m + TILE - 1) / TILE, (n + TILE - 1) / TILE);
  gemm<<<grid, block>>>(n, m, k, 1.5, d_a, d_b, 0.5, d_c);
  cudaMemcpy(c.data(), d_c, c.size() * sizeof(double), cudaMemcpyDeviceToHost);
  report("c", c);
  cudaFree(d_a);
  cudaFree(d_b);
  cudaFree(d_c);
  return 0;
}
