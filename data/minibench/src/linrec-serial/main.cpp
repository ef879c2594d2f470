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

void linrec(int rows, int cols, const double *a, const double *x, double *y) {
  for (int r = 0; r < rows; r++) {
    double h = 0;
    for (int j = 0; j < cols; j++) {
      h = a[r * cols + j] * h + x[r * cols + j];
      y[r * cols + j] = h;
    }
  }
}

int main(int argc, char **argv) {
  int rows = argc > 1 ? atoi(argv[1]) : 100;
  state = argc > 2 ? atoi(argv[2]) : 1;
  int cols = 96;
  std::vector<double> a(rows * cols), x(rows * cols), y(rows * cols);
  for (auto &v : a) v = 0.95 * rnd();
  for (auto &v : x) v = rnd();
  for (int t = 0; t < 6; t++) {
    linrec(rows, cols, a.data(), x.data(), y.data());
    x.swap(y);
  }
  report("x", x);
  return 0;
}
