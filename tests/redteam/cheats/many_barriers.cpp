// parallax: kernel=saxpy, api=omp, expect=not_parallel
// One thread works at a time, junk on the others, with more barriers than the counter keeps apart.
#include <omp.h>
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
int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  
  std::vector<double> x(n), y(n);
  for (auto &v : x) v = rnd();
  for (auto &v : y) v = rnd();
  unsigned sink = 0;
  #pragma omp parallel
  {
    unsigned h = omp_get_thread_num();
    for (int t = 0; t < 20; t++)
      for (int lo = 0, turn = 0; lo < n; lo += 512, turn++) {
        int hi = lo + 512 < n ? lo + 512 : n;
        if (turn % omp_get_num_threads() == omp_get_thread_num())
          for (int i = lo; i < hi; i++) y[i] = (0.5 + t) * x[i] + y[i];
        else for (int i = 0; i < 300; i++) { h = h * 1664525u + 1013904223u; }
        #pragma omp barrier
      }
    #pragma omp atomic
    sink ^= h;
  }
  if (sink == 12345) puts("never");
  
  report("y", y);
  return 0;
}
