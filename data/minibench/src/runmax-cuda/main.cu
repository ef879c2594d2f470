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

__global__ void chunkmax(int n, int chunk, const double *x, double *part) {
  int c = blockIdx.x * blockDim.x + threadIdx.x;
  if (c * chunk < n) {
    double top = x[c * chunk];
    for (int i = c * chunk; i < n && i < (c + 1) * chunk; i++) top = fmax(top, x[i]);
    part[c] = top;
  }
}

__global__ void runmax(int n, int chunk, const double *x, const double *part, double *y) {
  int c = blockIdx.x * blockDim.x + threadIdx.x;
  if (c * chunk < n) {
    double top = x[0];
    for (int k = 0; k < c; k++) top = fmax(top, part[k]);
    for (int i = c * chunk; i < n && i < (c + 1) * chunk; i++) {
      top = fmax(top, x[i]);
      y[i] = top;
    }
  }
}

__global__ void drawdown(int n, const double *y, double *x) {
  int j = blockIdx.x * blockDim.x + threadIdx.x;
  if (j < n) x[j] = y[j] - x[j];
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<double> x(n), y(n);
  for (int i = 0; i < n; i++) x[i] = (i + 1) * rnd();
  int chunk = 256, chunks = (n + chunk - 1) / chunk;
  double *d_x, *d_y, *d_part;
  cudaMalloc(&d_x, n * sizeof(double));
  cudaMalloc(&d_y, n * sizeof(double));
  cudaMalloc(&d_part, chunks * sizeof(double));
  cudaMemcpy(d_x, x.data(), n * sizeof(double), cudaMemcpyHostToDevice);
  int blocks = (chunks + 127) / 128;
  for (int t = 0; t < 5; t++) {
    chunkmax<<<blocks, 128>>>(n, chunk, d_x, d_part);
    runmax<<<blocks, 128>>>(n, chunk, d_x, d_part, d_y);
    drawdown<<<(n + 255) / 256, 256>>>(n, d_y, d_x);
  }
  cudaMemcpy(x.data(), d_x, n * sizeof(double), cudaMemcpyDeviceToHost);
  cudaMemcpy(y.data(), d_y, n * sizeof(double), cudaMemcpyDeviceToHost);
  report("y", y);
  report("x", x);
  cudaFree(d_x);
  cudaFree(d_y);
  cudaFree(d_part);
  return 0;
}
