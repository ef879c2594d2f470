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

double pull(int n, double lost, const int *row, const int *col, const int *out, const double *rank, double *next) {
  double base = 0.15 + 0.85 * lost / n, sink = 0;
  #pragma omp parallel for reduction(+:sink)
  for (int i = 0; i < n; i++) {
    double sum = 0;
    for (int k = row[i]; k < row[i + 1]; k++) sum += rank[col[k]] / out[col[k]];
    next[i] = base + 0.85 * sum;
    if (out[i] == 0) sink += next[i];
  }
  return sink;
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<int> row(n + 1), col, out(n);
  for (int i = 0; i < n; i++) row[i + 1] = row[i] + (int)(rnd() * 7);
  col.resize(row[n]);
  for (auto &v : col) v = (int)(rnd() * rnd() * n);
  for (int v : col) out[v]++;
  std::vector<double> rank(n, 1.0), next(n), lost(11);
  for (int d : out) lost[0] += d == 0;
  for (int s = 0; s < 10; s++) {
    lost[s + 1] = pull(n, lost[s], row.data(), col.data(), out.data(), rank.data(), next.data());
    rank.swap(next);
  }
  report("rank", rank);
  report("lost", lost);
  return 0;
}
