// parallax: kernel=prefixsum, api=omp, expect=ok
// An inclusive scan directive.
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

void prefixsum(int n, const double *x, double *y) {
  double sum = 0;
  #pragma omp parallel for simd reduction(inscan, + : sum)
  for (int i = 0; i < n; i++) {
    sum += x[i];
    #pragma omp scan inclusive(sum)
    y[i] = sum;
  }
}

void boxmean(int n, int w, const double *y, double *x) {
  #pragma omp parallel for
  for (int j = 0; j < n; j++) x[j] = (y[j] - (j < w ? 0 : y[j - w])) / (j < w ? j + 1 : w);
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<double> x(n), y(n);
  for (auto &v : x) v = rnd();
  for (int t = 0; t < 6; t++) {
    prefixsum(n, x.data(), y.data());
    boxmean(n, 2 + t, y.data(), x.data());
  }
  report("y", y);
  report("x", x);
  return 0;
}
