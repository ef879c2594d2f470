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

void weightedbins(int n, int bins, int t, const double *edge, const double *x, const int *weight, long long *h) {
  for (int i = 0; i < n; i++) {
    int lo = 0, hi = bins;
    while (hi - lo > 1) {
      int mid = (lo + hi) / 2;
      if (x[i] < edge[mid]) hi = mid;
      else lo = mid;
    }
    h[lo] += weight[i] + t;
  }
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  int bins = 40;
  std::vector<double> x(n), edge(bins);
  std::vector<int> weight(n);
  std::vector<long long> h(bins);
  for (int b = 0; b < bins; b++) edge[b] = (b + 0.5 * rnd()) * b / (bins * bins);
  for (auto &v : x) v = rnd();
  for (auto &v : weight) v = 1 + (int)(1000 * rnd());
  for (int t = 0; t < 6; t++) weightedbins(n, bins, t, edge.data(), x.data(), weight.data(), h.data());
  report("h", h);
  return 0;
}
