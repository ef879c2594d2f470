#include <cmath>
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

void cmuladd(int n, const double *x, const double *y, double *z) {
  for (int i = 0; i < n; i++) {
    double xr = x[2 * i], xi = x[2 * i + 1];
    double yr = y[2 * i], yi = y[2 * i + 1];
    z[2 * i] += xr * yr - xi * yi;
    z[2 * i + 1] += xr * yi + xi * yr;
  }
}

void magnitude(int n, const double *z, double *m) {
  for (int j = 0; j < n; j++) m[j] = sqrt(z[2 * j] * z[2 * j] + z[2 * j + 1] * z[2 * j + 1]);
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<double> x(2 * n), y(2 * n), z(2 * n), m(n);
  for (auto &v : x) v = rnd();
  for (auto &v : y) v = rnd();
  for (auto &v : z) v = rnd() + 2;
  for (int t = 0; t < 4; t++) cmuladd(n, x.data(), y.data(), z.data());
  magnitude(n, z.data(), m.data());
  report("z", z);
  report("m", m);
  return 0;
}
