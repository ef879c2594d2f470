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

int expand(int n, int depth, const int *row, const int *col, const int *level, int *next) {
  int found = 0;
  #pragma omp parallel for reduction(+:found)
  for (int i = 0; i < n; i++) {
    int l = level[i];
    for (int k = row[i]; l == 0 && k < row[i + 1]; k++)
      if (level[col[k]] == depth) l = depth + 1;
    next[i] = l;
    found += l > depth;
  }
  return found;
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<int> row(n + 1), col, level(n), next(n), sizes;
  for (int i = 0; i < n; i++) row[i + 1] = row[i] + 1 + (int)(rnd() * 4);
  col.resize(row[n]);
  for (auto &v : col) v = (int)(rnd() * n);
  level[col[0]] = level[col[n - 1]] = 1;
  do {
    sizes.push_back(expand(n, sizes.size() + 1, row.data(), col.data(), level.data(), next.data()));
    level.swap(next);
  } while (sizes.back() > 0);
  report("level", level);
  report("sizes", sizes);
  return 0;
}
