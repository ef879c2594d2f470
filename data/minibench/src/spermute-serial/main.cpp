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

void spermute(int m, const int *off, const int *p, const double *x, double *y) {
  for (int s = 0; s < m; s++)
    for (int i = off[s]; i < off[s + 1]; i++) y[off[s] + p[i]] = x[i] + 0.5 * x[off[s]];
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<int> off(1), p(n);
  while (off.back() < n) off.push_back(std::min(n, off.back() + 1 + (int)(200 * rnd())));
  int m = off.size() - 1;
  for (int s = 0; s < m; s++)
    for (int i = off[s]; i < off[s + 1]; i++) {
      int j = off[s] + (int)(rnd() * (i - off[s] + 1));
      p[i] = p[j];
      p[j] = i - off[s];
    }
  std::vector<double> x(n), y(n);
  for (auto &v : x) v = rnd();
  for (int t = 0; t < 8; t++) {
    spermute(m, off.data(), p.data(), x.data(), y.data());
    x.swap(y);
  }
  report("x", x);
  return 0;
}
