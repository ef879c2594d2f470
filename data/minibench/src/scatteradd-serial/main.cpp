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

void scatteradd(int n, double c, const int *idx, const double *v, double *y) {
  for (int i = 0; i < n; i++) {
    y[idx[i]] += c * sqrt(v[i]);
  }
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  int m = 300;
  std::vector<int> idx(n);
  std::vector<double> v(n), y(m);
  for (auto &k : idx) k = m * rnd() * rnd();
  for (auto &a : v) a = rnd();
  for (auto &a : y) a = rnd();
  for (int t = 1; t < 6; t++) scatteradd(n, t, idx.data(), v.data(), y.data());
  report("y", y);
  return 0;
}
