// parallax: kernel=saxpy, api=omp, expect=ok
// Host pointers travel through the device in records that it swaps but does not follow.
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

struct Part { double *at; long size; };

void saxpy(int n, double c, const double *x, double *y) {
  Part parts[2] = {{y + n / 2, n - n / 2}, {y, n / 2}};
  #pragma omp target map(tofrom : parts)
  { Part first = parts[1]; parts[1] = parts[0]; parts[0] = first; }
  if (parts[0].at != y) abort();
  for (Part p : parts) {
    double *to = p.at;
    const double *from = x + (to - y);
    #pragma omp target teams distribute parallel for map(to : from[:p.size]) map(tofrom : to[:p.size])
    for (long i = 0; i < p.size; i++) to[i] = c * from[i] + to[i];
  }
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<double> x(n), y(n);
  for (auto &v : x) v = rnd();
  for (auto &v : y) v = rnd();
  for (int t = 0; t < 20; t++) saxpy(n, 0.5 + t, x.data(), y.data());
  report("y", y);
  return 0;
}
