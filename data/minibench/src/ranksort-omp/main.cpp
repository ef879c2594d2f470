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

void count_ranks(int n, const int *key, int *rank) {
  #pragma omp parallel for
  for (int i = 0; i < n; i++) {
    int r = 0;
    for (int j = 0; j < n; j++) r += key[j] < key[i] || (key[j] == key[i] && j < i);
    rank[i] = r;
  }
}

void place(int n, const int *key, const int *rank, int *sorted) {
  #pragma omp parallel for
  for (int i = 0; i < n; i++) sorted[rank[i]] = key[i];
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 300;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<int> key(n), rank(n), sorted(n);
  for (auto &v : key) v = (int)(rnd() * n);
  count_ranks(n, key.data(), rank.data());
  place(n, key.data(), rank.data(), sorted.data());
  report("rank", rank);
  report("sorted", sorted);
  return 0;
}
