#include <cmath>
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

__device__ double cdf(double d) { return 0.5 * erfc(-d * 0.70710678118654752); }

__global__ void optprice(int n, double rate, const double *s, const double *k, const double *v, double *call,
                         double *delta) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) {
    double width = v[i] * sqrt(0.25 + 0.01 * (i % 100));
    double d = (s[i] - k[i]) / width;
    double disc = exp(-rate * (0.25 + 0.01 * (i % 100)));
    delta[i] = cdf(d);
    call[i] = disc * ((s[i] - k[i]) * delta[i] + width * exp(-0.5 * d * d) / 2.5066282746310002);
  }
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<double> s(n), k(n), v(n), call(n), delta(n);
  for (auto &p : s) p = 80 + 40 * rnd();
  for (auto &p : k) p = 80 + 40 * rnd();
  for (auto &p : v) p = 15 + 10 * rnd();
  size_t bytes = n * sizeof(double);
  double *d_s, *d_k, *d_v, *d_call, *d_delta;
  cudaMalloc(&d_s, bytes);
  cudaMalloc(&d_k, bytes);
  cudaMalloc(&d_v, bytes);
  cudaMalloc(&d_call, bytes);
  cudaMalloc(&d_delta, bytes);
  cudaMemcpy(d_s, s.data(), bytes, cudaMemcpyHostToDevice);
  cudaMemcpy(d_k, k.data(), bytes, cudaMemcpyHostToDevice);
  cudaMemcpy(d_v, v.data(), bytes, cudaMemcpyHostToDevice);
  optprice<<<(n + 255) / 256, 256>>>(n, 0.03, d_s, d_k, d_v, d_call, d_delta);
  cudaMemcpy(call.data(), d_call, bytes, cudaMemcpyDeviceToHost);
  cudaMemcpy(delta.data(), d_delta, bytes, cudaMemcpyDeviceToHost);
  report("call", call);
  report("delta", delta);
  cudaFree(d_s);
  cudaFree(d_k);
  cudaFree(d_v);
  cudaFree(d_call);
  cudaFree(d_delta);
  return 0;
}
