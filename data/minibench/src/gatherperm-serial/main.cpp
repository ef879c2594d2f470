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

void gatherperm(int n, double c, const int *p, const double *x, double *y) {
  for (int i = 0; i < n; i++) y[i] = x[p[i]] + c * x[i];
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<int> p(n);
  std::vector<double> x(n), y(n);
  for (int i = 0; i < n; i++) {
    int j = rnd() * (i + 1);
    p[i] = p[j];
    p[j] = i;
  }
  for (auto &v : x) v = rnd();
  for (int t = 0; t < 5; t++) {
    gatherperm(n, 0.25, p.data(), x.data(), y.data());
    x.swap(y);
  }
  report("x", x);
  return 0;
}
