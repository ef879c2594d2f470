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

__global__ void pull(int n, const int *row, const int *col, const int *out, const double *rank, double *next,
                     double *lost) {
  __shared__ double part[256];
  int i = blockIdx.x * blockDim.x + threadIdx.x, t = threadIdx.x;
  part[t] = 0;
  if (i < n) {
    double sum = 0;
    for (int k = row[i]; k < row[i + 1]; k++) sum += rank[col[k]] / out[col[k]];
    next[i] = 0.15 + 0.85 * lost[0] / n + 0.85 * sum;
    if (out[i] == 0) part[t] = next[i];
  }
  __syncthreads();
  for (int h = blockDim.x / 2; h > 0; h /= 2) {
    if (t < h) part[t] += part[t + h];
    __syncthreads();
  }
  if (t == 0) atomicAdd(&lost[1], part[0]);
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<int> row(n + 1), col, out(n);
  for (int i = 0; i < n; i++) row[i + 1] = row[i] + (int)(rnd() * 7);
  col.resize(row[n]);
  for (auto &v : col) v = (int)(rnd() * rnd() * n);
  for (int v : col) out[v]++;
  std::vector<double> rank(n, 1.0), lost(11);
  for (int d : out) lost[0] += d == 0;
  int *d_row, *d_col, *d_out;
  double *d_rank, *d_next, *d_lost;
  cudaMalloc(&d_row, row.size() * sizeof(int));
  cudaMalloc(&d_col, col.size() * sizeof(int));
  cudaMalloc(&d_out, n * sizeof(int));
  cudaMalloc(&d_rank, n * sizeof(double));
  cudaMalloc(&d_next, n * sizeof(double));
  cudaMalloc(&d_lost, lost.size() * sizeof(double));
  cudaMemcpy(d_row, row.data(), row.size() * sizeof(int), cudaMemcpyHostToDevice);
  cudaMemcpy(d_col, col.data(), col.size() * sizeof(int), cudaMemcpyHostToDevice);
  cudaMemcpy(d_out, out.data(), n * sizeof(int), cudaMemcpyHostToDevice);
  cudaMemcpy(d_rank, rank.data(), n * sizeof(double), cudaMemcpyHostToDevice);
  cudaMemcpy(d_lost, lost.data(), lost.size() * sizeof(double), cudaMemcpyHostToDevice);
  for (int s = 0; s < 10; s++) {
    pull<<<(n + 255) / 256, 256>>>(n, d_row, d_col, d_out, d_rank, d_next, d_lost + s);
    std::swap(d_rank, d_next);
  }
  cudaMemcpy(rank.data(), d_rank, n * sizeof(double), cudaMemcpyDeviceToHost);
  cudaMemcpy(lost.data(), d_lost, lost.size() * sizeof(double), cudaMemcpyDeviceToHost);
  report("rank", rank);
  report("lost", lost);
  cudaFree(d_row);
  cudaFree(d_col);
  cudaFree(d_out);
  cudaFree(d_rank);
  cudaFree(d_next);
  cudaFree(d_lost);
  return 0;
}
