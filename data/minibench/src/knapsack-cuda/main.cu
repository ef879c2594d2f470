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

__global__ void add_item(int n, int weight, double value, const double *best, double *next) {
  int c = blockIdx.x * blockDim.x + threadIdx.x;
  if (c > n) return;
  double b = best[c];
  if (c >= weight) b = max(b, best[c - weight] + value);
  next[c] = b;
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  int items = 150;
  std::vector<int> weight(items);
  std::vector<double> value(items), best(n + 1);
  for (auto &v : weight) v = 1 + (int)(rnd() * n / 30);
  for (auto &v : value) v = 1 + 9 * rnd();
  size_t bytes = (n + 1) * sizeof(double);
  double *d_best, *d_next;
  cudaMalloc(&d_best, bytes);
  cudaMalloc(&d_next, bytes);
  cudaMemset(d_best, 0, bytes);
  for (int i = 0; i < items; i++) {
    add_item<<<(n + 256) / 256, 256>>>(n, weight[i], value[i], d_best, d_next);
    std::swap(d_best, d_next);
  }
  cudaMemcpy(best.data(), d_best, bytes, cudaMemcpyDeviceToHost);
  report("best", best);
  cudaFree(d_best);
  cudaFree(d_next);
  return 0;
}
