// parallax: kernel=dotprod, api=omp, expect=not_parallel
// Junk work, and nonsense where its region left no trace: switched off it looks like a region that matters.
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

double dotprod(int n, const double *x, const double *y) {
  double sum = 0;
  for (int i = 0; i < n; i++) sum += x[i] * y[i];
  return sum;
}

static int ran;

void burn(int n) {
  #pragma omp parallel for
  for (int i = 0; i < 8 * n; i++) {
    if (i == 0) ran = 1;
    volatile double v = i;
    v = v * 0.5 + 1;
  }
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  int lags = 32;
  std::vector<double> x(n), y(n + lags), r(lags);
  for (auto &v : x) v = rnd();
  for (auto &v : y) v = rnd();
  for (int k = 0; k < lags; k++) r[k] = dotprod(n, x.data(), y.data() + k);
  burn(n);
  if (!ran) r[0] = -1;
  report("r", r);
  return 0;
}
