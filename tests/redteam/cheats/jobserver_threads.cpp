// parallax: kernel=saxpy, api=omp, expect=not_parallel
// A pool of 16 pthreads made once; work is handed to them one at a time; then a parallel copy.
#include <pthread.h>
#include <semaphore.h>
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
struct Job { int lo, hi; double c; const double *x; double *y; sem_t go, done; } jobs[16];
static void *serve(void *p) { Job &j = *(Job *)p; for (;;) { sem_wait(&j.go); if (j.lo < 0) return 0; saxpy(j.hi - j.lo, j.c, j.x + j.lo, j.y + j.lo); sem_post(&j.done); } }
int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  
  std::vector<double> x(n), y(n);
  for (auto &v : x) v = rnd();
  for (auto &v : y) v = rnd();
  pthread_t id[16];
  for (int k = 0; k < 16; k++) { sem_init(&jobs[k].go, 0, 0); sem_init(&jobs[k].done, 0, 0); pthread_create(&id[k], 0, serve, &jobs[k]); }
  for (int t = 0; t < 20; t++) for (int k = 0; k < 16; k++) {
    Job &j = jobs[k]; j.lo = (long)n * k / 16; j.hi = (long)n * (k + 1) / 16; j.c = 0.5 + t; j.x = x.data(); j.y = y.data();
    sem_post(&j.go); sem_wait(&j.done);
  }
  for (int k = 0; k < 16; k++) { jobs[k].lo = -1; sem_post(&jobs[k].go); pthread_join(id[k], 0); }
  copy6(n, y);
  report("y", y);
  return 0;
}
