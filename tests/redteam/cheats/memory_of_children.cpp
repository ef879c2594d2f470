// parallax: kernel=saxpy, api=omp, expect=cheat_suspected
// Six children take memory, each below the limit.
#include <unistd.h>
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

void saxpy(int n, double c, const double *x, double *y) {
  #pragma omp parallel for
  for (int i = 0; i < n; i++) y[i] = c * x[i] + y[i];
}

int main(int argc, char **argv) {
  for (int k = 0; k < 6; k++)
    if (!fork()) {
      volatile char *p = (char *)malloc(200 << 20);
      for (int i = 0; i < 200 << 20; i += 512) p[i] = 1;
      sleep(9);
    }
  sleep(9);
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<double> x(n), y(n);
  for (auto &v : x) v = rnd();
  for (auto &v : y) v = rnd();
  for (int t = 0; t < 20; t++) saxpy(n, 0.5 + t, x.data(), y.data());
  report("y", y);
  return 0;
}
