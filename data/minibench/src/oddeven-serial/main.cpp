#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

static unsigned state = 1;
static double rnd() { state = state * 1664525u + 1013904223u; return (state >> 8) / 16777216.0; }

template <class T> void report(const char *name, const std::vector<T> &a) {
  double s = 0, w = 0;
  for (size_t i = 0; i < a.size(); i++) { s += a[i]; w += a[i] * ((i * 37 + 11) % 101); }
  printf("%s %.9e %.9e %.9e\n", name, s, w, (double)a[a.size() / 2]);
}

int phase(int n, int first, double *a) {
  int swaps = 0;
  for (int i = first; i < n - 1; i += 2) {
    bool wrong = a[i] > a[i + 1];
    if (wrong) std::swap(a[i], a[i + 1]);
    swaps += wrong;
  }
  return swaps;
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 200;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<double> a(n);
  std::vector<int> swaps(n);
  for (auto &v : a) v = rnd();
  for (int s = 0; s < n; s++) swaps[s] = phase(n, s % 2, a.data());
  report("a", a);
  report("swaps", swaps);
  return 0;
}
