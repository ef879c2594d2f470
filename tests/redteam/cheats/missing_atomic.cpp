// parallax: kernel=histo, api=omp, expect=race|nondeterministic|wrong_output, needs=race
// Threads count in one histogram without atomics.
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

void histo(int n, int bins, int shift, const double *x, int *h) {
  #pragma omp parallel for
  for (int i = 0; i < n; i++) h[((int)(x[i] * bins) + shift) % bins]++;
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  int bins = 64;
  std::vector<double> x(n);
  std::vector<int> h(bins);
  for (auto &v : x) v = rnd() * rnd();
  for (int t = 0; t < 16; t++) histo(n, bins, t, x.data(), h.data());
  report("h", h);
  return 0;
}
