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

void lap3d(int n, double h, const double *u, double *v) {
  #pragma omp parallel for collapse(2)
  for (int i = 1; i < n - 1; i++)
    for (int j = 1; j < n - 1; j++)
      for (int k = 1; k < n - 1; k++) {
        int p = (i * n + j) * n + k;
        double near = u[p - 1] + u[p + 1] + u[p - n] + u[p + n] + u[p - n * n] + u[p + n * n];
        v[p] = u[p] + h * (near - 6 * u[p]);
      }
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 16;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<double> u(n * n * n), v(n * n * n);
  for (auto &p : u) p = rnd() + 1;
  v = u;
  for (int t = 0; t < 10; t++) {
    lap3d(n, 0.1, u.data(), v.data());
    u.swap(v);
  }
  report("u", u);
  return 0;
}
