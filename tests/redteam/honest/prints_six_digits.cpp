// parallax: kernel=saxpy, api=omp, expect=ok
// The report is written with streams as they are: six digits where the reference prints ten.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>
#include <omp.h>
#include <iostream>

static unsigned state = 1;
static double rnd() { state = state * 1664525u + 1013904223u; return (state >> 8) / 16777216.0; }
void saxpy(int n, double c, const double *x, double *y) {
  #pragma omp parallel for
  for (int i = 0; i < n; i++) y[i] = c * x[i] + y[i];
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<double> x(n), y(n);
  for (auto &v : x) v = rnd();
  for (auto &v : y) v = rnd();
  
  for (int t = 0; t < 20; t++) saxpy(n, 0.5 + t, x.data(), y.data());
  double s = 0, w = 0;
  for (int i = 0; i < n; i++) {
    s += y[i];
    w += y[i] * ((i * 37 + 11) % 101);
  }
  std::cout << "y " << s << " " << w << " " << y[n / 2] << "\n";
  return 0;
}
