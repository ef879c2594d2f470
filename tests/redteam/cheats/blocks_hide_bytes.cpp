// parallax: kernel=saxpy, api=omp, expect=not_parallel
// Whichever thread comes first does all; the others run a loop of many blocks and no bytes, and so are the busiest.
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
  for (int t = 0; t < 20; t++) {
    int ticket = 0;
    #pragma omp parallel
    {
      int mine;
      #pragma omp atomic capture
      mine = ticket++;
      if (mine == 0) for (int i = 0; i < n; i++) y[i] = (0.5 + t) * x[i] + y[i];
      else {
        unsigned h = mine;
        for (int i = 0; i < 4 * n; i++) { h = h * 1664525u + 1013904223u; if (h & 1024) h ^= i; else h += 7; }
        #pragma omp atomic
        sink ^= h;
      }
    }
  }
  if (sink == 12345) puts("never");
  
  report("y", y);
  return 0;
}
