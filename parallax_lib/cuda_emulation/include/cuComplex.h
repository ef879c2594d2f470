// Complex numbers as pairs, by the names of CUDA's header.
#pragma once
#include "cuda_runtime.h"
typedef float2 cuFloatComplex;
typedef double2 cuDoubleComplex;
typedef cuFloatComplex cuComplex;
#define CUDACPU_COMPLEX(C, T, f, make)                                                                          \
  inline C make##C(T x, T y) { return {x, y}; }                                                                 \
  inline T cuCreal##f(C a) { return a.x; }                                                                      \
  inline T cuCimag##f(C a) { return a.y; }                                                                      \
  inline C cuConj##f(C a) { return {a.x, -a.y}; }                                                               \
  inline C cuCadd##f(C a, C b) { return {a.x + b.x, a.y + b.y}; }                                               \
  inline C cuCsub##f(C a, C b) { return {a.x - b.x, a.y - b.y}; }                                               \
  inline C cuCmul##f(C a, C b) { return {a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x}; }                       \
  inline C cuCdiv##f(C a, C b) {                                                                                \
    T s = std::fabs(b.x) + std::fabs(b.y), x = b.x / s, y = b.y / s, d = x * x + y * y;                         \
    return {(a.x / s * x + a.y / s * y) / d, (a.y / s * x - a.x / s * y) / d};                                  \
  }                                                                                                             \
  inline T cuCabs##f(C a) { return std::hypot(a.x, a.y); }                                                      \
  inline C cuCfma##f(C a, C b, C c) { return cuCadd##f(cuCmul##f(a, b), c); }
CUDACPU_COMPLEX(cuFloatComplex, float, f, make_)
CUDACPU_COMPLEX(cuDoubleComplex, double, , make_)
inline cuComplex make_cuComplex(float x, float y) { return {x, y}; }
inline cuDoubleComplex cuComplexFloatToDouble(cuFloatComplex a) { return {a.x, a.y}; }
inline cuFloatComplex cuComplexDoubleToFloat(cuDoubleComplex a) { return {(float)a.x, (float)a.y}; }
