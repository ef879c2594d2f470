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

double average(int n, const double *x) {
  double sum = 0;
  for (int i = 0; i < n; i++) sum += x[i];
  return sum / n;
}

double variance(int n, const double *x, double mean) {
  double sum = 0;
  for (int j = 0; j < n; j++) sum += (x[j] - mean) * (x[j] - mean);
  return sum / n;
}

void normvar(int n, const double *x, double mean, double scale, double *y) {
  for (int k = 0; k < n; k++) {
    double z = scale * (x[k] - mean);
    y[k] = 2 + z / (1 + fabs(z));
  }
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<double> x(n), y(n), mean(8), var(8);
  for (auto &v : x) v = 3 + rnd() * rnd();
  for (int t = 0; t < 8; t++) {
    mean[t] = average(n, x.data());
    var[t] = variance(n, x.data(), mean[t]);
    normvar(n, x.data(), mean[t], 1 / sqrt(var[t]), y.data());
    x.swap(y);
  }
  report("mean", mean);
  report("var", var);
  report("x", x);
  return 0;
}
