#include <cmath>
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

double spmv(int n, const int *row, const int *col, const double *val, const double *x, double *y) {
  double norm = 0;
  for (int i = 0; i < n; i++) {
    double sum = 0;
    for (int k = row[i]; k < row[i + 1]; k++) sum += val[k] * x[col[k]];
    y[i] = sum;
    norm += sum * sum;
  }
  return sqrt(norm / n);
}

void scale(int n, double c, const double *y, double *x) {
  for (int i = 0; i < n; i++) x[i] = c * y[i];
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<int> row(n + 1), col;
  for (int i = 0; i < n; i++) row[i + 1] = row[i] + 1 + (int)(rnd() * 8);
  col.resize(row[n]);
  std::vector<double> val(row[n]), x(n), y(n), norm(8);
  for (auto &v : col) v = (int)(rnd() * n);
  for (auto &v : val) v = rnd();
  for (auto &v : x) v = rnd();
  for (auto &v : norm) {
    v = spmv(n, row.data(), col.data(), val.data(), x.data(), y.data());
    scale(n, 1.0 / v, y.data(), x.data());
  }
  report("x", x);
  report("norm", norm);
  return 0;
}
