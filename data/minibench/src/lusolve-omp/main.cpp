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

void factor(int n, double *a) {
  for (int k = 0; k < n; k++) {
    #pragma omp parallel for
    for (int i = k + 1; i < n; i++) {
      a[i * n + k] /= a[k * n + k];
      for (int j = k + 1; j < n; j++) a[i * n + j] -= a[i * n + k] * a[k * n + j];
    }
  }
}

void forward(int n, const double *a, double *x) {
  for (int k = 0; k < n; k++) {
    #pragma omp parallel for
    for (int i = k + 1; i < n; i++) x[i] -= a[i * n + k] * x[k];
  }
}

void backward(int n, const double *a, double *x) {
  for (int k = n - 1; k >= 0; k--) {
    x[k] /= a[k * n + k];
    #pragma omp parallel for
    for (int i = 0; i < k; i++) x[i] -= a[i * n + k] * x[k];
  }
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 40;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<double> a(n * n), x(n);
  for (auto &v : a) v = rnd();
  for (auto &v : x) v = n * (1 + rnd());
  for (int i = 0; i < n; i++) a[i * n + i] += n;
  factor(n, a.data());
  forward(n, a.data(), x.data());
  backward(n, a.data(), x.data());
  report("lu", a);
  report("x", x);
  return 0;
}
