// parallax: kernel=lcs, api=omp, expect=ok
// A wavefront of blocks with depend(sink) and depend(source).
#include <algorithm>
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

void lcs(int n, int m, const char *a, const char *b, int *t) {
  const int size = 128;
  int w = m + 1, rows = (n + size - 1) / size, columns = (m + size - 1) / size;
  #pragma omp parallel for ordered(2) schedule(static, 1)
  for (int p = 0; p < rows; p++)
    for (int q = 0; q < columns; q++) {
      #pragma omp ordered depend(sink : p - 1, q) depend(sink : p, q - 1)
      for (int i = p * size + 1; i <= std::min(n, (p + 1) * size); i++)
        for (int j = q * size + 1; j <= std::min(m, (q + 1) * size); j++)
          if (a[i - 1] == b[j - 1]) t[i * w + j] = t[(i - 1) * w + j - 1] + 1;
          else t[i * w + j] = std::max(t[(i - 1) * w + j], t[i * w + j - 1]);
      #pragma omp ordered depend(source)
    }
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 200;
  state = argc > 2 ? atoi(argv[2]) : 1;
  int m = n - n / 5;
  std::vector<char> a(n), b(m);
  std::vector<int> t((n + 1) * (m + 1)), last(m + 1);
  for (auto &c : a) c = 'a' + (int)(rnd() * 4);
  for (auto &c : b) c = 'a' + (int)(rnd() * 4);
  lcs(n, m, a.data(), b.data(), t.data());
  for (int j = 0; j <= m; j++) last[j] = t[n * (m + 1) + j];
  report("last", last);
  return 0;
}
