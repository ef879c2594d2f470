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

__global__ void kick(int n, double dt, const double *p, double *v, double *energy) {
  __shared__ double tile[4 * 128];
  int i = blockIdx.x * blockDim.x + threadIdx.x, t = threadIdx.x;
  double x = 0, y = 0, z = 0, ax = 0, ay = 0, az = 0, e = 0;
  if (i < n) { x = p[4 * i]; y = p[4 * i + 1]; z = p[4 * i + 2]; }
  for (int start = 0; start < n; start += blockDim.x) {
    int len = min((int)blockDim.x, n - start);
    for (int c = t; c < 4 * len; c += blockDim.x) tile[c] = p[4 * start + c];
    __syncthreads();
    for (int j = 0; j < len; j++) {
      double dx = tile[4 * j] - x, dy = tile[4 * j + 1] - y, dz = tile[4 * j + 2] - z;
      double r2 = dx * dx + dy * dy + dz * dz + 0.01;
      double f = tile[4 * j + 3] / (n * r2 * sqrt(r2));
      ax += f * dx;
      ay += f * dy;
      az += f * dz;
      e += f * r2;
    }
    __syncthreads();
  }
  if (i < n) {
    v[3 * i] += dt * ax;
    v[3 * i + 1] += dt * ay;
    v[3 * i + 2] += dt * az;
    atomicAdd(energy, e * p[4 * i + 3]);
  }
}

__global__ void drift(int n, double dt, const double *v, double *p) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n)
    for (int c = 0; c < 3; c++) p[4 * i + c] += dt * v[3 * i + c];
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 100;
  state = argc > 2 ? atoi(argv[2]) : 1;
  double dt = 0.05;
  std::vector<double> p(4 * n), v(3 * n), energy(4);
  for (auto &c : p) c = rnd();
  double *d_p, *d_v, *d_energy;
  cudaMalloc(&d_p, p.size() * sizeof(double));
  cudaMalloc(&d_v, v.size() * sizeof(double));
  cudaMalloc(&d_energy, energy.size() * sizeof(double));
  cudaMemcpy(d_p, p.data(), p.size() * sizeof(double), cudaMemcpyHostToDevice);
  cudaMemset(d_v, 0, v.size() * sizeof(double));
  cudaMemset(d_energy, 0, energy.size() * sizeof(double));
  for (size_t s = 0; s < energy.size(); s++) {
    kick<<<(n + 127) / 128, 128>>>(n, dt, d_p, d_v, d_energy + s);
    drift<<<(n + 127) / 128, 128>>>(n, dt, d_v, d_p);
  }
  cudaMemcpy(p.data(), d_p, p.size() * sizeof(double), cudaMemcpyDeviceToHost);
  cudaMemcpy(energy.data(), d_energy, energy.size() * sizeof(double), cudaMemcpyDeviceToHost);
  report("p", p);
  report("energy", energy);
  cudaFree(d_p);
  cudaFree(d_v);
  cudaFree(d_energy);
  return 0;
}
