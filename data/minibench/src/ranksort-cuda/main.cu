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

__global__ void count_ranks(int n, const int *key, int *rank) {
  __shared__ int tile[256];
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  int mine = i < n ? key[i] : 0, r = 0;
  for (int start = 0; start < n; start += blockDim.x) {
    int j = start + threadIdx.x;
    if (j < n) tile[threadIdx.x] = key[j];
    __syncthreads();
    int len = min((int)blockDim.x, n - start);
    for (int k = 0; k < len; k++) r += tile[k] < mine || (tile[k] == mine && start + k < i);
    __syncthreads();
  }
  if (i < n) rank[i] = r;
}

__global__ void place(int n, const int *key, const int *rank, int *sorted) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) sorted[rank[i]] = key[i];
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 300;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<int> key(n), rank(n), sorted(n);
  for (auto &v : key) v = (int)(rnd() * n);
  int *d_key, *d_rank, *d_sorted;
  cudaMalloc(&d_key, n * sizeof(int));
  cudaMalloc(&d_rank, n * sizeof(int));
  cudaMalloc(&d_sorted, n * sizeof(int));
  cudaMemcpy(d_key, key.data(), n * sizeof(int), cudaMemcpyHostToDevice);
  count_ranks<<<(n + 255) / 256, 256>>>(n, d_key, d_rank);
  place<<<(n + 255) / 256, 256>>>(n, d_key, d_rank, d_sorted);
  cudaMemcpy(rank.data(), d_rank, n * sizeof(int), cudaMemcpyDeviceToHost);
  cudaMemcpy(sorted.data(), d_sorted, n * sizeof(int), cudaMemcpyDeviceToHost);
  report("rank", rank);
  report("sorted", sorted);
  cudaFree(d_key);
  cudaFree(d_rank);
  cudaFree(d_sorted);
  return 0;
}
