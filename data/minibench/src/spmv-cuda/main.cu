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

__global__ void spmv(int n, const int *row, const int *col, const double *val, const double *x, double *y,
                     double *norm) {
  __shared__ double part[256];
  int i = blockIdx.x * blockDim.x + threadIdx.x, t = threadIdx.x;
  double sum = 0;
  if (i < n) {
    for (int k = row[i]; k < row[i + 1]; k++) sum += val[k] * x[col[k]];
    y[i] = sum;
  }
  part[t] = sum * sum;
  __syncthreads();
  for (int h = blockDim.x / 2; h > 0; h /= 2) {
    if (t < h) part[t] += part[t + h];
    __syncthreads();
  }
  if (t == 0) atomicAdd(norm, part[0]);
}

__global__ void scale(int n, double c, const double *y, double *x) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] = c * y[i];
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<int> row(n + 1), col;
  for (int i = 0; i < n; i++) row[i + 1] = row[i] + 1 + (int)(rnd() * 8);
  col.resize(row[n]);
  std::vector<double> val(row[n]), x(n), norm(8);
  for (auto &v : col) v = (int)(rnd() * n);
  for (auto &v : val) v = rnd();
  for (auto &v : x) v = rnd();
  int *d_row, *d_col;
  double *d_val, *d_x, *d_y, *d_sum;
  cudaMalloc(&d_row, row.size() * sizeof(int));
  cudaMalloc(&d_col, col.size() * sizeof(int));
  cudaMalloc(&d_val, val.size() * sizeof(double));
  cudaMalloc(&d_x, n * sizeof(double));
  cudaMalloc(&d_y, n * sizeof(double));
  cudaMalloc(&d_sum, sizeof(double));
  cudaMemcpy(d_row, row.data(), row.size() * sizeof(int), cudaMemcpyHostToDevice);
  cudaMemcpy(d_col, col.data(), col.size() * sizeof(int), cudaMemcpyHostToDevice);
  cudaMemcpy(d_val, val.data(), val.size() * sizeof(double), cudaMemcpyHostToDevice);
  cudaMemcpy(d_x, x.data(), n * sizeof(double), cudaMemcpyHostToDevice);
  int blocks = (n + 255) / 256;
  for (auto &v : norm) {
    double sum;
    cudaMemset(d_sum, 0, sizeof(double));
    spmv<<<blocks, 256>>>(n, d_row, d_col, d_val, d_x, d_y, d_sum);
    cudaMemcpy(&sum, d_sum, sizeof(double), cudaMemcpyDeviceToHost);
    v = sqrt(sum / n);
    scale<<<blocks, 256>>>(n, 1.0 / v, d_y, d_x);
  }
  cudaMemcpy(x.data(), d_x, n * sizeof(double), cudaMemcpyDeviceToHost);
  report("x", x);
  report("norm", norm);
  cudaFree(d_row);
  cudaFree(d_col);
  cudaFree(d_val);
  cudaFree(d_x);
  cudaFree(d_y);
  cudaFree(d_sum);
  return 0;
}
