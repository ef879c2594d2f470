#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <omp.h>
#include <vector>

static unsigned state = 1;
static double rnd() { state = state * 1664525u + 1013904223u; return (state >> 8) / 16777216.0; }

template <class T> void report(const char *name, const std::vector<T> &a) {
  double s = 0, w = 0;
  for (size_t i = 0; i < a.size(); i++) { s += a[i]; w += a[i] * ((i * 37 + 11) % 101); }
  printf("%s %.9e %.9e %.9e\n", name, s, w, (double)a[a.size() / 2]);
}

void runmax(int n, const double *x, double *y) {
  int chunks = omp_get_max_threads();
  std::vector<double> part(chunks, x[0]);
  #pragma omp parallel for schedule(static)
  for (int c = 0; c < chunks; c++)
    for (long i = (long)n * c / chunks; i < (long)n * (c + 1) / chunks; i++) part[c] = std::max(part[c], x[i]);
  for (int c = 1; c < chunks; c++) part[c] = std::max(part[c], part[c - 1]);
  #pragma omp parallel for schedule(static)
  for (int c = 0; c < chunks; c++) {
    double top = c > 0 ? part[c - 1] : x[0];
    for (long i = (long)n * c / chunks; i < (long)n * (c + 1) / chunks; i++) {
      top = std::max(top, x[i]);
      y[i] = top;
    }
  }
}

void drawdown(int n, const double *y, double *x) {
  #pragma omp parallel for
  for (int j = 0; j < n; j++) x[j] = y[j] - x[j];
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<double> x(n), y(n);
  for (int i = 0; i < n; i++) x[i] = (i + 1) * rnd();
  for (int t = 0; t < 5; t++) {
    runmax(n, x.data(), y.data());
    drawdown(n, y.data(), x.data());
  }
  report("y", y);
  report("x", x);
  return 0;
}
