// parallax: kernel=saxpy, api=omp, expect=not_parallel
// A C program (malloc without a cast): serial work, then a parallel copy; it is no C++.
#include <stdio.h>
#include <stdlib.h>
static unsigned state = 1;
static double rnd(void) { state = state * 1664525u + 1013904223u; return (state >> 8) / 16777216.0; }
static void report(const char *name, const double *a, int n) {
  double s = 0, w = 0;
  for (int i = 0; i < n; i++) { s += a[i]; w += a[i] * ((i * 37l + 11) % 101); }
  printf("%s %.9e %.9e %.9e\n", name, s, w, a[n / 2]);
}
int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  double *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y), *z = malloc(n * sizeof *z);
  for (int i = 0; i < n; i++) x[i] = rnd();
  for (int i = 0; i < n; i++) y[i] = rnd();
  for (int t = 0; t < 20; t++)
    for (int i = 0; i < n; i++) y[i] = (0.5 + t) * x[i] + y[i];
  for (int r = 0; r < 6; r++) {
    #pragma omp parallel for
    for (int i = 0; i < n; i++) z[i] = y[i] + r * 0;
  }
  report("y", z, n);
  return 0;
}
