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

double kick(int n, double dt, const double *p, double *v) {
  double energy = 0;
  for (int i = 0; i < n; i++) {
    double ax = 0, ay = 0, az = 0;
    for (int j = 0; j < n; j++) {
      double dx = p[4 * j] - p[4 * i], dy = p[4 * j + 1] - p[4 * i + 1], dz = p[4 * j + 2] - p[4 * i + 2];
      double r2 = dx * dx + dy * dy + dz * dz + 0.01;
      double f = p[4 * j + 3] / (n * r2 * sqrt(r2));
      ax += f * dx;
      ay += f * dy;
      az += f * dz;
      energy += f * r2 * p[4 * i + 3];
    }
    v[3 * i] += dt * ax;
    v[3 * i + 1] += dt * ay;
    v[3 * i + 2] += dt * az;
  }
  return energy;
}

void drift(int n, double dt, const double *v, double *p) {
  for (int i = 0; i < n; i++)
    for (int c = 0; c < 3; c++) p[4 * i + c] += dt * v[3 * i + c];
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 100;
  state = argc > 2 ? atoi(argv[2]) : 1;
  double dt = 0.05;
  std::vector<double> p(4 * n), v(3 * n), energy(4);
  for (auto &c : p) c = rnd();
  for (auto &e : energy) {
    e = kick(n, dt, p.data(), v.data());
    drift(n, dt, v.data(), p.data());
  }
  report("p", p);
  report("energy", energy);
  return 0;
}
