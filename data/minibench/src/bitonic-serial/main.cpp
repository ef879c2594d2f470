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

void exchange(int n, int j, int k, double *a) {
  for (int i = 0; i < n; i++) {
    int p = i ^ j;
    if (p > i && (a[i] > a[p]) == ((i & k) == 0)) std::swap(a[i], a[p]);
  }
}

int main(int argc, char **argv) {
  int m = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  int n = 1;
  while (n < m) n *= 2;
  std::vector<double> a(n, 2.0);
  for (int i = 0; i < m; i++) a[i] = rnd();
  for (int k = 2; k <= n; k *= 2)
    for (int j = k / 2; j > 0; j /= 2) exchange(n, j, k, a.data());
  a.resize(m);
  report("a", a);
  return 0;
}
