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

double cdf(double d) { return 0.5 * erfc(-d * 0.70710678118654752); }

void optprice(int n, double rate, const double *s, const double *k, const double *v, double *call, double *delta) {
  for (int i = 0; i < n; i++) {
    double width = v[i] * sqrt(0.25 + 0.01 * (i % 100));
    double d = (s[i] - k[i]) / width;
    double disc = exp(-rate * (0.25 + 0.01 * (i % 100)));
    delta[i] = cdf(d);
    call[i] = disc * ((s[i] - k[i]) * delta[i] + width * exp(-0.5 * d * d) / 2.5066282746310002);
  }
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<double> s(n), k(n), v(n), call(n), delta(n);
  for (auto &p : s) p = 80 + 40 * rnd();
  for (auto &p : k) p = 80 + 40 * rnd();
  for (auto &p : v) p = 15 + 10 * rnd();
  optprice(n, 0.03, s.data(), k.data(), v.data(), call.data(), delta.data());
  report("call", call);
  report("delta", delta);
  return 0;
}
