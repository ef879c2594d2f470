// parallax: kernel=jacobi1d, api=omp, expect=race|nondeterministic|wrong_output, needs=race
// Updates the array that its neighbours still read.
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
  #pragma omp parallel for
  for (int i = 1; i < n - 1; i++) const_cast<double *>(a)[i] = b[i] = (a[i - 1] + a[i] + a[i + 1]) / 3;
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
