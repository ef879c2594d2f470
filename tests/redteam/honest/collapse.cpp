// parallax: kernel=heat2d, api=omp, expect=ok
// collapse(2) with a dynamic schedule.
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

void heat2d(int n, double k, const double *u, double *v) {
  #pragma omp parallel for collapse(2) schedule(dynamic, 1000)
  for (int i = 1; i < n - 1; i++)
    for (int j = 1; j < n - 1; j++) {
      double c = u[i * n + j];
      double around = u[(i - 1) * n + j] + u[(i + 1) * n + j] + u[i * n + j - 1] + u[i * n + j + 1];
      v[i * n + j] = c + k * (around - 4 * c);
    }
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 64;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<double> u(n * n), v(n * n);
  for (auto &p : u) p = 10 * rnd();
  v = u;
  for (int t = 0; t < 50; t++) {
    heat2d(n, 0.2, u.data(), v.data());
    u.swap(v);
  }
  report("u", u);
  return 0;
}
