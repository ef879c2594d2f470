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

__global__ void weightedbins(int n, int bins, int t, const double *edge, const double *x, const int *weight,
                             unsigned long long *h) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) {
    int lo = 0, hi = bins;
    while (hi - lo > 1) {
      int mid = (lo + hi) / 2;
      if (x[i] < edge[mid]) hi = mid;
      else lo = mid;
    }
    atomicAdd(&h[lo], (unsigned long long)(weight[i] + t));
  }
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  int bins = 40;
  std::vector<double> x(n), edge(bins);
  std::vector<int> weight(n);
  std::vector<unsigned long long> h(bins);
  for (int b = 0; b < bins; b++) edge[b] = (b + 0.5 * rnd()) * b / (bins * bins);
  for (auto &v : x) v = rnd();
  for (auto &v : weight) v = 1 + (int)(1000 * rnd());
  double *d_x, *d_edge;
  int *d_weight;
  unsigned long long *d_h;
  cudaMalloc(&d_x, n * sizeof(double));
  cudaMalloc(&d_edge, bins * sizeof(double));
  cudaMalloc(&d_weight, n * sizeof(int));
  cudaMalloc(&d_h, bins * sizeof(h[0]));
  cudaMemcpy(d_x, x.data(), n * sizeof(double), cudaMemcpyHostToDevice);
  cudaMemcpy(d_edge, edge.data(), bins * sizeof(double), cudaMemcpyHostToDevice);
  cudaMemcpy(d_weight, weight.data(), n * sizeof(int), cudaMemcpyHostToDevice);
  cudaMemset(d_h, 0, bins * sizeof(h[0]));
  for (int t = 0; t < 6; t++) weightedbins<<<(n + 255) / 256, 256>>>(n, bins, t, d_edge, d_x, d_weight, d_h);
  cudaMemcpy(h.data(), d_h, bins * sizeof(h[0]), cudaMemcpyDeviceToHost);
  report("h", h);
  cudaFree(d_x);
  cudaFree(d_edge);
  cudaFree(d_weight);
  cudaFree(d_h);
  return 0;
}
