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

double sweep(int n, int width, const int *col, const double *val, const double *diag, const double *b,
             const double *x, double *next) {
  double norm = 0;
  #pragma omp parallel for reduction(+:norm)
  for (int i = 0; i < n; i++) {
    double r = b[i] - diag[i] * x[i];
    for (int k = 0; k < width; k++) r -= val[k * n + i] * x[col[k * n + i]];
    next[i] = x[i] + 0.8 * r / diag[i];
    norm += r * r;
  }
  return norm;
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  int width = 6;
  std::vector<int> col(n * width);
  std::vector<double> val(n * width), diag(n), b(n), x(n), next(n), norm(10);
  for (auto &v : col) v = (int)(rnd() * n);
  for (auto &v : val) v = rnd();
  for (auto &v : diag) v = width + rnd();
  for (auto &v : b) v = 10 * rnd();
  for (auto &v : norm) {
    v = sweep(n, width, col.data(), val.data(), diag.data(), b.data(), x.data(), next.data());
    x.swap(next);
  }
  report("x", x);
  report("norm", norm);
  return 0;
}
