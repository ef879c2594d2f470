#include <algorithm>
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

__global__ void diagonal(int d, int first, int last, int m, const char *a, const char *b, int *t) {
  int i = first + blockIdx.x * blockDim.x + threadIdx.x, j = d - i, w = m + 1;
  if (i > last) return;
  if (a[i - 1] == b[j - 1]) t[i * w + j] = t[(i - 1) * w + j - 1] + 1;
  else t[i * w + j] = max(t[(i - 1) * w + j], t[i * w + j - 1]);
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 200;
  state = argc > 2 ? atoi(argv[2]) : 1;
  int m = n - n / 5;
  std::vector<char> a(n), b(m);
  std::vector<int> row(m + 1);
  for (auto &c : a) c = 'a' + (int)(rnd() * 4);
  for (auto &c : b) c = 'a' + (int)(rnd() * 4);
  size_t bytes = (size_t)(n + 1) * (m + 1) * sizeof(int);
  char *d_a, *d_b;
  int *d_t;
  cudaMalloc(&d_a, n);
  cudaMalloc(&d_b, m);
  cudaMalloc(&d_t, bytes);
  cudaMemcpy(d_a, a.data(), n, cudaMemcpyHostToDevice);
  cudaMemcpy(d_b, b.data(), m, cudaMemcpyHostToDevice);
  cudaMemset(d_t, 0, bytes);
  for (int d = 2; d <= n + m; d++) {
    int first = std::max(1, d - m), last = std::min(n, d - 1);
    diagonal<<<(last - first + 256) / 256, 256>>>(d, first, last, m, d_a, d_b, d_t);
  }
  cudaMemcpy(row.data(), d_t + n * (m + 1), (m + 1) * sizeof(int), cudaMemcpyDeviceToHost);
  report("last", row);
  cudaFree(d_a);
  cudaFree(d_b);
  cudaFree(d_t);
  return 0;
}
