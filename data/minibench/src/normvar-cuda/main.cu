#include <cmath>
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

__device__ void blocksum(double v, double *out) {
  __shared__ double s[256];
  s[threadIdx.x] = v;
  __syncthreads();
  for (int h = blockDim.x / 2; h > 0; h /= 2) {
    if (threadIdx.x < h) s[threadIdx.x] += s[threadIdx.x + h];
    __syncthreads();
  }
  if (threadIdx.x == 0) atomicAdd(out, s[0]);
}

__global__ void average(int n, const double *x, double *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  blocksum(i < n ? x[i] : 0, out);
}

__global__ void variance(int n, const double *x, double mean, double *out) {
  int j = blockIdx.x * blockDim.x + threadIdx.x;
  blocksum(j < n ? (x[j] - mean) * (x[j] - mean) : 0, out);
}

__global__ void normvar(int n, const double *x, double mean, double scale, double *y) {
  int k = blockIdx.x * blockDim.x + threadIdx.x;
  if (k < n) {
    double z = scale * (x[k] - mean);
    y[k] = 2 + z / (1 + fabs(z));
  }
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<double> x(n), y(n), mean(8), var(8);
  for (auto &v : x) v = 3 + rnd() * rnd();
  double *d_x, *d_y, *d_mean, *d_var;
  cudaMalloc(&d_x, n * sizeof(double));
  cudaMalloc(&d_y, n * sizeof(double));
  cudaMalloc(&d_mean, 8 * sizeof(double));
  cudaMalloc(&d_var, 8 * sizeof(double));
  cudaMemcpy(d_x, x.data(), n * sizeof(double), cudaMemcpyHostToDevice);
  cudaMemset(d_mean, 0, 8 * sizeof(double));
  cudaMemset(d_var, 0, 8 * sizeof(double));
  int blocks = (n + 255) / 256;
  for (int t = 0; t < 8; t++) {
    average<<<blocks, 256>>>(n, d_x, d_mean + t);
    cudaMemcpy(&mean[t], d_mean + t, sizeof(double), cudaMemcpyDeviceToHost);
    mean[t] /= n;
    variance<<<blocks, 256>>>(n, d_x, mean[t], d_var + t);
    cudaMemcpy(&var[t], d_var + t, sizeof(double), cudaMemcpyDeviceToHost);
    var[t] /= n;
    normvar<<<blocks, 256>>>(n, d_x, mean[t], 1 / sqrt(var[t]), d_y);
    std::swap(d_x, d_y);
  }
  cudaMemcpy(x.data(), d_x, n * sizeof(double), cudaMemcpyDeviceToHost);
  report("mean", mean);
  report("var", var);
  report("x", x);
  cudaFree(d_x);
  cudaFree(d_y);
  cudaFree(d_mean);
  cudaFree(d_var);
  return 0;
}
