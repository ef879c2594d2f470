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

void gemm(int n, int m, int k, double alpha, const double *a, const double *b, double beta, double *c) {
  for (int i = 0; i < n; i++)
    for (int j = 0; j < m; j++) {
      double sum = 0;
      for (int l = 0; l < k; l++) sum += a[i * k + l] * b[l * m + j];
      c[i * m + j] = alpha * sum + beta * c[i * m + j];
    }
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 48;
  state = argc > 2 ? atoi(argv[2]) : 1;
  int m = n + 5, k = n - n / 4;
  std::vector<double> a(n * k), b(k * m), c(n * m);
  for (auto &v : a) v = rnd();
  for (auto &v : b) v = rnd();
  for (auto &v : c) v = rnd();
  gemm(n, m, k, 1.5, a.data(), b.data(), 0.5, c.data());
  report("c", c);
  return 0;
}
