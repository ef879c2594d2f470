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

void runmax(int n, const double *x, double *y) {
  double top = x[0];
  for (int i = 0; i < n; i++) {
    top = std::max(top, x[i]);
    y[i] = top;
  }
}

void drawdown(int n, const double *y, double *x) {
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
