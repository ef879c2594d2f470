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
  int w = m + 1;
  for (int d = 2; d <= n + m; d++) {
    int first = std::max(1, d - m), last = std::min(n, d - 1);
    #pragma omp parallel for
    for (int i = first; i <= last; i++) {
      int j = d - i;
      if (a[i - 1] == b[j - 1]) t[i * w + j] = t[(i - 1) * w + j - 1] + 1;
      else t[i * w + j] = std::max(t[(i - 1) * w + j], t[i * w + j - 1]);
    }
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
