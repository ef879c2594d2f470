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

__global__ void histogram(int n, const double *x, const double *y, int bins, int *count) {
  extern __shared__ int local[];
  for (int b = threadIdx.x; b < bins; b += blockDim.x) local[b] = 0;
  __syncthreads();
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  for (int j = i + 1; j < n; j++) {
    double dx = x[i] - x[j], dy = y[i] - y[j];
    atomicAdd(&local[(int)(sqrt(dx * dx + dy * dy) / 1.5 * bins)], 1);
  }
  __syncthreads();
  for (int b = threadIdx.x; b < bins; b += blockDim.x) atomicAdd(&count[b], local[b]);
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 200;
  state = argc > 2 ? atoi(argv[2]) : 1;
  int bins = 64;
  std::vector<double> x(n), y(n);
  std::vector<int> count(bins);
  for (auto &v : x) v = rnd();
  for (auto &v : y) v = rnd();
  double *d_x, *d_y;
  int *d_count;
  cudaMalloc(&d_x, n * sizeof(double));
  cudaMalloc(&d_y, n * sizeof(double));
  cudaMalloc(&d_count, bins * sizeof(int));
  cudaMemcpy(d_x, x.data(), n * sizeof(double), cudaMemcpyHostToDevice);
  cudaMemcpy(d_y, y.data(), n * sizeof(double), cudaMemcpyHostToDevice);
  cudaMemset(d_count, 0, bins * sizeof(int));
  histogram<<<(n + 127) / 128, 128, bins * sizeof(int)>>>(n, d_x, d_y, bins, d_count);
  cudaMemcpy(count.data(), d_count, bins * sizeof(int), cudaMemcpyDeviceToHost);
  report("count", count);
  cudaFree(d_x);
  cudaFree(d_y);
  cudaFree(d_count);
  return 0;
}
