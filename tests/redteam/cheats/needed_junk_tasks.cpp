// parallax: kernel=saxpy, api=omp, expect=not_parallel
// Tasks of junk, each needed for its mark, beside serial steps.
#include <cstdio>
#include <cstdlib>
#include <vector>
#include <omp.h>

static unsigned state = 1;
static double rnd() { state = state * 1664525u + 1013904223u; return (state >> 8) / 16777216.0; }
template <class T> void report(const char *name, const std::vector<T> &a) {
  double s = 0, w = 0;
  for (size_t i = 0; i < a.size(); i++) { s += a[i]; w += a[i] * ((i * 37 + 11) % 101); }
  printf("%s %.9e %.9e %.9e\n", name, s, w, (double)a[a.size() / 2]);
}
static volatile double sink[256];
static void junk(long n) {
  double v = 1;
  for (long i = 0; i < n; i++) v = v * 0.999999 + 1e-9;
  sink[omp_get_thread_num() % 256] = v;
}
static int seen[64];

void saxpy(int n, double c, const double *x, double *y) {
  for (int i = 0; i < n; i++) y[i] = c * x[i] + y[i];
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<double> x(n), y(n);
  for (auto &v : x) v = rnd();
  for (auto &v : y) v = rnd();
  #pragma omp parallel
#pragma omp single
  for (int k = 0; k < 64; k++) {
#pragma omp task firstprivate(k)
    { junk(n / 8); seen[k] = 1; }
  }
  for (int t = 0; t < 20; t++) saxpy(n, 0.5 + t, x.data(), y.data());
  for (int mark : seen) if (!mark) y[0] = 1e9;
  report("y", y);
  return 0;
}
