#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

static unsigned state = 1;
static double rnd() { state = state * 1664525u + 1013904223u; return (state >> 8) / 16777216.0; }

template <class T> void report(const char *name, const std::vector<T> &a) {
  double s = 0, w = 0;
  for (size_t i = 0; i < a.size(); i++) { s += a[i]; w += a[i] * ((i * 37 + 11) % 101); }
  printf("%s %.9e %.9e %.9e\n", name, s, w, (double)a[a.size() / 2]);
}

__global__ void propagate(int n, const int *row, const int *col, const int *label, int *next, int *changed) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int best = label[i];
  for (int k = row[i]; k < row[i + 1]; k++) best = min(best, label[col[k]]);
  next[i] = best;
  if (best != label[i]) atomicAdd(changed, 1);
}

void build(int n, const std::vector<int> &from, const std::vector<int> &to, std::vector<int> &row,
           std::vector<int> &col) {
  for (int e = 0; e < n; e++) { row[from[e] + 1]++; row[to[e] + 1]++; }
  for (int i = 0; i < n; i++) row[i + 1] += row[i];
  std::vector<int> at(row);
  for (int e = 0; e < n; e++) { col[at[from[e]]++] = to[e]; col[at[to[e]]++] = from[e]; }
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<int> from(n), to(n), row(n + 1), col(2 * n), label(n), history;
  for (auto &v : from) v = (int)(rnd() * n);
  for (auto &v : to) v = (int)(rnd() * n);
  build(n, from, to, row, col);
  for (int i = 0; i < n; i++) label[i] = i;
  int *d_row, *d_col, *d_label, *d_next, *d_changed, changed;
  cudaMalloc(&d_row, row.size() * sizeof(int));
  cudaMalloc(&d_col, col.size() * sizeof(int));
  cudaMalloc(&d_label, n * sizeof(int));
  cudaMalloc(&d_next, n * sizeof(int));
  cudaMalloc(&d_changed, sizeof(int));
  cudaMemcpy(d_row, row.data(), row.size() * sizeof(int), cudaMemcpyHostToDevice);
  cudaMemcpy(d_col, col.data(), col.size() * sizeof(int), cudaMemcpyHostToDevice);
  cudaMemcpy(d_label, label.data(), n * sizeof(int), cudaMemcpyHostToDevice);
  do {
    cudaMemset(d_changed, 0, sizeof(int));
    propagate<<<(n + 255) / 256, 256>>>(n, d_row, d_col, d_label, d_next, d_changed);
    cudaMemcpy(&changed, d_changed, sizeof(int), cudaMemcpyDeviceToHost);
    history.push_back(changed);
    std::swap(d_label, d_next);
  } while (changed > 0);
  cudaMemcpy(label.data(), d_label, n * sizeof(int), cudaMemcpyDeviceToHost);
  report("label", label);
  report("changed", history);
  cudaFree(d_row);
  cudaFree(d_col);
  cudaFree(d_label);
  cudaFree(d_next);
  cudaFree(d_changed);
  return 0;
}
