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

const int SIDE = 16;

void walk(int n, int steps, const unsigned *seed, int *end, int *visits) {
  for (int i = 0; i < n; i++) {
    unsigned u = seed[i];
    int x = i % SIDE, y = SIDE / 2;
    for (int s = 0; s < steps; s++) {
      u = u * 1664525u + 1013904223u;
      int move = u >> 30;
      if (move == 0) x = (x + 1) % SIDE;
      if (move == 1) x = (x + SIDE - 1) % SIDE;
      if (move == 2) y = (y + 1) % SIDE;
      if (move == 3) y = (y + SIDE - 1) % SIDE;
      visits[y * SIDE + x]++;
    }
    end[i] = y * SIDE + x;
  }
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 200;
  state = argc > 2 ? atoi(argv[2]) : 1;
  int steps = 100;
  std::vector<unsigned> seed(n);
  std::vector<int> end(n), visits(SIDE * SIDE);
  for (auto &v : seed) v = (unsigned)(rnd() * 16777216.0);
  walk(n, steps, seed.data(), end.data(), visits.data());
  report("end", end);
  report("visits", visits);
  return 0;
}
