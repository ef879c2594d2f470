// parallax: kernel=mcpi, api=omp, expect=wrong_output
// Always uses the public seed.
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

double uniform(unsigned key, unsigned i) {
  unsigned h = (i ^ key) * 2654435761u;
  h = (h ^ (h >> 15)) * 2246822519u;
  return ((h ^ (h >> 13)) >> 8) / 16777216.0;
}

int sample(int n, int points, unsigned key, int *batch) {
  int total = 0;
  #pragma omp parallel for reduction(+:total)
  for (int i = 0; i < n; i++) {
    int hits = 0;
    for (int k = i * points; k < (i + 1) * points; k++) {
      double x = uniform(key, 2 * k), y = uniform(key, 2 * k + 1);
      if (x * x + y * y < 1) hits++;
    }
    batch[i] = hits;
    total += hits;
  }
  return total;
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 500;
  state = 1;
  int points = 32;
  unsigned key = (unsigned)(rnd() * 16777216.0);
  std::vector<int> batch(n);
  std::vector<double> pi(1);
  pi[0] = 4.0 * sample(n, points, key, batch.data()) / points / n;
  report("batch", batch);
  report("pi", pi);
  return 0;
}
