// parallax: kernel=saxpy, api=omp, expect=cheat_suspected
// A child process computes all on one thread in shared memory, the parent copies in a region.
#include <sys/mman.h>
#include <sys/wait.h>
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

static void copy6(int n, std::vector<double> &y) {
  std::vector<double> z(n);
  for (int r = 0; r < 6; r++) {
    #pragma omp parallel for
    for (int i = 0; i < n; i++) z[i] = y[i] + r * 0;
  }
  y = z;
}
void saxpy(int n, double c, const double *x, double *y) {
  for (int i = 0; i < n; i++) y[i] = c * x[i] + y[i];
}
int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  
  std::vector<double> x(n), y(n);
  for (auto &v : x) v = rnd();
  for (auto &v : y) v = rnd();
  double *z = (double *)mmap(nullptr, (n + 1) * sizeof(double), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pid_t child = fork();
  if (!child) { for (int t = 0; t < 20; t++) saxpy(n, 0.5 + t, x.data(), y.data()); for (int i = 0; i < n; i++) z[i] = y[i]; _exit(0); }
  waitpid(child, nullptr, 0);
  for (int r = 0; r < 6; r++) {
    #pragma omp parallel for
    for (int i = 0; i < n; i++) y[i] = z[i] + r * 0;
  }
  
  report("y", y);
  return 0;
}
