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

void histogram(int n, const double *x, const double *y, int bins, int *count) {
  for (int i = 0; i < n; i++)
    for (int j = i + 1; j < n; j++) {
      double dx = x[i] - x[j], dy = y[i] - y[j];
      count[(int)(sqrt(dx * dx + dy * dy) / 1.5 * bins)]++;
    }
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 200;
  state = argc > 2 ? atoi(argv[2]) : 1;
  int bins = 64;
  std::vector<double> x(n), y(n);
  std::vector<int> count(bins);
  for (auto &v : x) v = rnd();
  for (auto &v : y) v = rnd();
  histogram(n, x.data(), y.data(), bins, count.data());
  report("count", count);
  return 0;
}
