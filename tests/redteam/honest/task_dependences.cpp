// parallax: kernel=jacobi1d, api=omp, expect=ok
// Tasks of blocks ordered by depend clauses, two steps in flight.
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

void jacobi1d(int n, const double *a, double *b) {
  const int size = 50000;
  int blocks = (n + size - 1) / size;
  std::vector<char> token(blocks);
  char *done = token.data();
  #pragma omp parallel
  #pragma omp single
  for (int k = 0; k < blocks; k++) {
    #pragma omp task depend(out : done[k]) firstprivate(k)
    for (int i = std::max(1, k * size); i < std::min(n - 1, (k + 1) * size); i++) b[i] = (a[i - 1] + a[i] + a[i + 1]) / 3;
  }
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<double> a(n), b(n);
  for (auto &v : a) v = rnd();
  b = a;
  for (int t = 0; t < 60; t++) {
    jacobi1d(n, a.data(), b.data());
    a.swap(b);
  }
  report("a", a);
  return 0;
}
