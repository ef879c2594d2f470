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

void multiply(int n, int m, const double *a, const double *x, double *y) {
  for (int i = 0; i < n; i++) {
    double sum = 0;
    for (int j = 0; j < m; j++) sum += a[i * m + j] * x[j];
    y[i] = 2.0 * sum / m;
  }
}

void transpose_multiply(int n, int m, const double *a, const double *y, double *x) {
  for (int j = 0; j < m; j++) x[j] = 0;
  for (int i = 0; i < n; i++) {
    double f = 2.0 * y[i] / n;
    for (int j = 0; j < m; j++) x[j] += f * a[i * m + j];
  }
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 120;
  state = argc > 2 ? atoi(argv[2]) : 1;
  int m = n / 2 + 3, steps = 10;
  std::vector<double> a(n * m), x(m), y(n);
  for (auto &v : a) v = rnd();
  for (auto &v : x) v = rnd();
  for (int s = 0; s < steps; s++) {
    multiply(n, m, a.data(), x.data(), y.data());
    transpose_multiply(n, m, a.data(), y.data(), x.data());
  }
  report("x", x);
  report("y", y);
  return 0;
}
