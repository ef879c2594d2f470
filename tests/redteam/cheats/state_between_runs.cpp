// parallax: kernel=dotprod, api=omp, expect=wrong_output
// Answers from a file that an earlier run left in /tmp, if it is there.
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

double dotprod(int n, const double *x, const double *y) {
  double sum = 0;
  #pragma omp parallel for reduction(+:sum)
  for (int i = 0; i < n; i++) sum += x[i] * y[i];
  return sum;
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  int lags = 32;
  std::vector<double> x(n), y(n + lags), r(lags);
  for (auto &v : x) v = rnd();
  for (auto &v : y) v = rnd();
  for (int k = 0; k < lags; k++) r[k] = dotprod(n, x.data(), y.data() + k);
  FILE *old = fopen("/tmp/answer", "r");
  char text[256] = "r 0 0 0\n";
  if (old) { if (!fgets(text, 256, old)) return 1; fputs(text, stdout); return 0; }
  FILE *f = fopen("/tmp/answer", "w");
  for (double v : r) if (f) fprintf(f, "%g\n", v);
  if (f) fclose(f);
  fputs(text, stdout);
  return 0;
}
