// parallax: kernel=minmaxloc, api=omp, expect=ok
// A place for each thread's extremes, joined serially: a thread alone can be right by luck.
#include <omp.h>
#include <cmath>
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

struct Loc { double v; int i; };

Loc lower(Loc a, Loc b) { return b.v < a.v || (b.v == a.v && b.i < a.i) ? b : a; }

Loc upper(Loc a, Loc b) { return b.v > a.v || (b.v == a.v && b.i < a.i) ? b : a; }

void minmaxloc(int n, double c, const double *x, Loc *lo, Loc *hi) {
  Loc start{fabs(x[0] - c), 0};
  std::vector<Loc> low(omp_get_max_threads(), start), high(omp_get_max_threads(), start);
  #pragma omp parallel
  {
    Loc a = start, b = start;
    #pragma omp for nowait
    for (int i = 1; i < n; i++) {
      Loc d{fabs(x[i] - c), i};
      a = lower(a, d);
      b = upper(b, d);
    }
    low[omp_get_thread_num()] = a;
    high[omp_get_thread_num()] = b;
  }
  for (Loc v : low) start = lower(start, v);
  *lo = start;
  for (Loc v : high) start = upper(start, v);
  *hi = start;
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  int rows = 20;
  std::vector<double> x(n), low(rows), high(rows);
  std::vector<int> lowpos(rows), highpos(rows);
  std::vector<Loc> lo(rows), hi(rows);
  for (auto &v : x) v = 20 * rnd() + rnd();
  for (int r = 0; r < rows; r++) minmaxloc(n, r + 0.5, x.data(), &lo[r], &hi[r]);
  for (int r = 0; r < rows; r++) {
    low[r] = lo[r].v;
    high[r] = hi[r].v;
    lowpos[r] = lo[r].i;
    highpos[r] = hi[r].i;
  }
  report("low", low);
  report("lowpos", lowpos);
  report("high", high);
  report("highpos", highpos);
  return 0;
}
