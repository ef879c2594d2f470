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

__global__ void expand(int n, int depth, const int *row, const int *col, const int *level, int *next, int *found) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int l = level[i];
  for (int k = row[i]; l == 0 && k < row[i + 1]; k++)
    if (level[col[k]] == depth) l = depth + 1;
  next[i] = l;
  if (l > depth) atomicAdd(found, 1);
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<int> row(n + 1), col, level(n), sizes;
  for (int i = 0; i < n; i++) row[i + 1] = row[i] + 1 + (int)(rnd() * 4);
  col.resize(row[n]);
  for (auto &v : col) v = (int)(rnd() * n);
  level[col[0]] = level[col[n - 1]] = 1;
  int *d_row, *d_col, *d_level, *d_next, *d_found, found;
  cudaMalloc(&d_row, row.size() * sizeof(int));
  cudaMalloc(&d_col, col.size() * sizeof(int));
  cudaMalloc(&d_level, n * sizeof(int));
  cudaMalloc(&d_next, n * sizeof(int));
  cudaMalloc(&d_found, sizeof(int));
  cudaMemcpy(d_row, row.data(), row.size() * sizeof(int), cudaMemcpyHostToDevice);
  cudaMemcpy(d_col, col.data(), col.size() * sizeof(int), cudaMemcpyHostToDevice);
  cudaMemcpy(d_level, level.data(), n * sizeof(int), cudaMemcpyHostToDevice);
  do {
    cudaMemset(d_found, 0, sizeof(int));
    expand<<<(n + 255) / 256, 256>>>(n, sizes.size() + 1, d_row, d_col, d_level, d_next, d_found);
    cudaMemcpy(&found, d_found, sizeof(int), cudaMemcpyDeviceToHost);
    sizes.push_back(found);
    std::swap(d_level, d_next);
  } while (found > 0);
  cudaMemcpy(level.data(), d_level, n * sizeof(int), cudaMemcpyDeviceToHost);
  report("level", level);
  report("sizes", sizes);
  cudaFree(d_row);
  cudaFree(d_col);
  cudaFree(d_level);
  cudaFree(d_next);
  cudaFree(d_found);
  return 0;
}
