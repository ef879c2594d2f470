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

__global__ void sweep(int n, int width, const int *col, const double *val, const double *diag, const double *b,
                      const double *x, double *next, double *norm) {
  __shared__ double part[256];
  int i = blockIdx.x * blockDim.x + threadIdx.x, t = threadIdx.x;
  double r = 0;
  if (i < n) {
    r = b[i] - diag[i] * x[i];
    for (int k = 0; k < width; k++) r -= val[k * n + i] * x[col[k * n + i]];
    next[i] = x[i] + 0.8 * r / diag[i];
  }
  part[t] = r * r;
  __syncthreads();
  for (int h = blockDim.x / 2; h > 0; h /= 2) {
    if (t < h) part[t] += part[t + h];
    __syncthreads();
  }
  if (t == 0) atomicAdd(norm, part[0]);
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  int width = 6;
  std::vector<int> col(n * width);
  std::vector<double> val(n * width), diag(n), b(n), x(n), norm(10);
  for (auto &v : col) v = (int)(rnd() * n);
  for (auto &v : val) v = rnd();
  for (auto &v : diag) v = width + rnd();
  for (auto &v : b) v = 10 * rnd();
  size_t bytes = n * sizeof(double);
  int *d_col;
  double *d_val, *d_diag, *d_b, *d_x, *d_next, *d_norm;
  cudaMalloc(&d_col, n * width * sizeof(int));
  cudaMalloc(&d_val, width * bytes);
  cudaMalloc(&d_diag, bytes);
  cudaMalloc(&d_b, bytes);
  cudaMalloc(&d_x, bytes);
  cudaMalloc(&d_next, bytes);
  cudaMalloc(&d_norm, norm.size() * sizeof(double));
  cudaMemcpy(d_col, col.data(), n * width * sizeof(int), cudaMemcpyHostToDevice);
  cudaMemcpy(d_val, val.data(), width * bytes, cudaMemcpyHostToDevice);
  cudaMemcpy(d_diag, diag.data(), bytes, cudaMemcpyHostToDevice);
  cudaMemcpy(d_b, b.data(), bytes, cudaMemcpyHostToDevice);
  cudaMemset(d_x, 0, bytes);
  cudaMemset(d_norm, 0, norm.size() * sizeof(double));
  for (size_t s = 0; s < norm.size(); s++) {
    sweep<<<(n + 255) / 256, 256>>>(n, width, d_col, d_val, d_diag, d_b, d_x, d_next, d_norm + s);
    std::swap(d_x, d_next);
  }
  cudaMemcpy(x.data(), d_x, bytes, cudaMemcpyDeviceToHost);
  cudaMemcpy(norm.data(), d_norm, norm.size() * sizeof(double), cudaMemcpyDeviceToHost);
  report("x", x);
  report("norm", norm);
  cudaFree(d_col);
  cudaFree(d_val);
  cudaFree(d_diag);
  cudaFree(d_b);
  cudaFree(d_x);
  cudaFree(d_next);
  cudaFree(d_norm);
  return 0;
}
