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

__host__ __device__ double uniform(unsigned key, unsigned i) {
  unsigned h = (i ^ key) * 2654435761u;
  h = (h ^ (h >> 15)) * 2246822519u;
  return ((h ^ (h >> 13)) >> 8) / 16777216.0;
}

__global__ void sample(int n, int points, unsigned key, int *batch, int *total) {
  __shared__ int part[256];
  int i = blockIdx.x * blockDim.x + threadIdx.x, t = threadIdx.x, hits = 0;
  if (i < n) {
    for (int k = i * points; k < (i + 1) * points; k++) {
      double x = uniform(key, 2 * k), y = uniform(key, 2 * k + 1);
      if (x * x + y * y < 1) hits++;
    }
    batch[i] = hits;
  }
  part[t] = hits;
  __syncthreads();
  for (int h = blockDim.x / 2; h > 0; h /= 2) {
    if (t < h) part[t] += part[t + h];
    __syncthreads();
  }
  if (t == 0) atomicAdd(total, part[0]);
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 500;
  state = argc > 2 ? atoi(argv[2]) : 1;
  int points = 32, total;
  unsigned key = (unsigned)(rnd() * 16777216.0);
  std::vector<int> batch(n);
  std::vector<double> pi(1);
  int *d_batch, *d_total;
  cudaMalloc(&d_batch, n * sizeof(int));
  cudaMalloc(&d_total, sizeof(int));
  cudaMemset(d_total, 0, sizeof(int));
  sample<<<(n + 255) / 256, 256>>>(n, points, key, d_batch, d_total);
  cudaMemcpy(batch.data(), d_batch, n * sizeof(int), cudaMemcpyDeviceToHost);
  cudaMemcpy(&total, d_total, sizeof(int), cudaMemcpyDeviceToHost);
  pi[0] = 4.0 * total / points / n;
  report("batch", batch);
  report("pi", pi);
  cudaFree(d_batch);
  cudaFree(d_total);
  return 0;
}
