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

struct Loc { double v; int i; };

__device__ Loc lower(Loc a, Loc b) { return b.v < a.v || (b.v == a.v && b.i < a.i) ? b : a; }

__device__ Loc upper(Loc a, Loc b) { return b.v > a.v || (b.v == a.v && b.i < a.i) ? b : a; }

__global__ void minmaxloc(int n, const double *x, Loc *lo, Loc *hi) {
  __shared__ Loc a[256], b[256];
  int t = threadIdx.x;
  double c = blockIdx.x + 0.5;
  a[t] = b[t] = Loc{fabs(x[0] - c), 0};
  for (int i = t; i < n; i += blockDim.x) {
    Loc d{fabs(x[i] - c), i};
    a[t] = lower(a[t], d);
    b[t] = upper(b[t], d);
  }
  __syncthreads();
  for (int h = blockDim.x / 2; h > 0; h /= 2) {
    if (t < h) {
      a[t] = lower(a[t], a[t + h]);
      b[t] = upper(b[t], b[t + h]);
    }
    __syncthreads();
  }
  if (t == 0) {
    lo[blockIdx.x] = a[0];
    hi[blockIdx.x] = b[0];
  }
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  int rows = 20;
  std::vector<double> x(n), low(rows), high(rows);
  std::vector<int> lowpos(rows), highpos(rows);
  std::vector<Loc> lo(rows), hi(rows);
  for (auto &v : x) v = 20 * rnd() + rnd();
  double *d_x;
  Loc *d_lo, *d_hi;
  cudaMalloc(&d_x, x.size() * sizeof(double));
  cudaMalloc(&d_lo, rows * sizeof(Loc));
  cudaMalloc(&d_hi, rows * sizeof(Loc));
  cudaMemcpy(d_x, x.data(), x.size() * sizeof(double), cudaMemcpyHostToDevice);
  minmaxloc<<<rows, 256>>>(n, d_x, d_lo, d_hi);
  cudaMemcpy(lo.data(), d_lo, rows * sizeof(Loc), cudaMemcpyDeviceToHost);
  cudaMemcpy(hi.data(), d_hi, rows * sizeof(Loc), cudaMemcpyDeviceToHost);
  for (int r = 0; r < rows; r++) {
    low[r] = lo[r].v;
    high[r] = hi[r].v;
    lowpos[r] = lo[r].i;
    highpos[r] = hi[r].i;
  }
  report("low", low);
  report("lowpos", lowpos);
  report("high", high);
  report("highpos", highpos);
  cudaFree(d_x);
  cudaFree(d_lo);
  cudaFree(d_hi);
  return 0;
}
