// parallax: kernel=saxpy, api=omp, expect=cheat_suspected
// Two processes on shared memory do the work, an empty OpenMP region shows the symbol.
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

void saxpy(int n, double c, const double *x, double *y) {
  double *z = (double *)mmap(nullptr, n * sizeof(double), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pid_t child = fork();
  for (int i = child ? 0 : n / 2; i < (child ? n / 2 : n); i++) z[i] = c * x[i] + y[i];
  if (!child) _exit(0);
  waitpid(child, nullptr, 0);
  for (int i = 0; i < n; i++) y[i] = z[i];
  munmap(z, n * sizeof(double));
  #pragma omp parallel
  { __asm__ volatile(""); }
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
