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

__global__ void prefixsum(int n, const double *x, double *y, double *part) {
  __shared__ double s[256];
  int t = threadIdx.x, i = blockIdx.x * blockDim.x + t;
  s[t] = i < n ? x[i] : 0;
  __syncthreads();
  for (int d = 1; d < 256; d *= 2) {
    double left = t >= d ? s[t - d] : 0;
    __syncthreads();
    s[t] += left;
    __syncthreads();
  }
  if (i < n) y[i] = s[t];
  if (t == 255) part[blockIdx.x] = s[t];
}

__global__ void addbase(int n, const double *part, double *y) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n && blockIdx.x > 0) y[i] += part[blockIdx.x - 1];
}

__global__ void boxmean(int n, int w, const double *y, double *x) {
  int j = blockIdx.x * blockDim.x + threadIdx.x;
  if (j < n) x[j] = (y[j] - (j < w ? 0 : y[j - w])) / (j < w ? j + 1 : w);
}

void scan(int n, const double *d_x, double *d_y) {
  int blocks = (n + 255) / 256;
  double *d_part;
  cudaMalloc(&d_part, blocks * sizeof(double));
  prefixsum<<<blocks, 256>>>(n, d_x, d_y, d_part);
  if (blocks > 1) {
    scan(blocks, d_part, d_part);
    addbase<<<blocks, 256>>>(n, d_part, d_y);
  }
  cudaFree(d_part);
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<double> x(n), y(n);
  for (auto &v : x) v = rnd();
  double *d_x, *d_y;
  cudaMalloc(&d_x, n * sizeof(double));
  cudaMalloc(&d_y, n * sizeof(double));
  cudaMemcpy(d_x, x.data(), n * sizeof(double), cudaMemcpyHostToDevice);
  for (int t = 0; t < 6; t++) {
    scan(n, d_x, d_y);
    boxmean<<<(n + 255) / 256, 256>>>(n, 2 + t, d_y, d_x);
  }
  cudaMemcpy(x.data(), d_x, n * sizeof(double), cudaMemcpyDeviceToHost);
  cudaMemcpy(y.data(), d_y, n * sizeof(double), cudaMemcpyDeviceToHost);
  report("y", y);
  report("x", x);
  cudaFree(d_x);
  cudaFree(d_y);
  return 0;
}
