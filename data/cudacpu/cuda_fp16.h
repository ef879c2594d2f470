// Half precision: storage and rounding as IEEE binary16, arithmetic in float, rounded after every operation.
#pragma once
#include "cuda_runtime.h"
struct __half {
  _Float16 v;
  __half() = default;
  __half(float f) : v((_Float16)f) {}
  __half(double f) : v((_Float16)f) {}
  __half(int i) : v((_Float16)(float)i) {}
  operator float() const { return (float)v; }
};
typedef __half half;
struct alignas(4) __half2 { __half x, y; };
typedef __half2 half2;
inline __half __float2half(float f) { return __half(f); }
inline __half __float2half_rn(float f) { return __half(f); }
inline __half __double2half(double f) { return __half(f); }
inline __half __int2half_rn(int i) { return __half(i); }
inline float __half2float(__half h) { return (float)h; }
inline unsigned short __half_as_ushort(__half h) { unsigned short u; memcpy(&u, &h, 2); return u; }
inline __half __ushort_as_half(unsigned short u) { __half h; memcpy((void *)&h, &u, 2); return h; }
#define CUDACPU_HALF(name, op)                                                                                 \
  inline __half operator op(__half a, __half b) { return __half((float)a op(float) b); }                       \
  inline __half &operator op##=(__half &a, __half b) { return a = a op b; }                                    \
  inline __half name(__half a, __half b) { return a op b; }                                                    \
  inline __half2 name##2(__half2 a, __half2 b) { return {a.x op b.x, a.y op b.y}; }
CUDACPU_HALF(__hadd, +)
CUDACPU_HALF(__hsub, -)
CUDACPU_HALF(__hmul, *)
CUDACPU_HALF(__hdiv, /)
inline __half operator-(__half a) { return __half(-(float)a); }
inline __half __hneg(__half a) { return -a; }
inline __half __hfma(__half a, __half b, __half c) { return __half((float)((double)(float)a * (float)b + (float)c)); }
inline __half2 __hfma2(__half2 a, __half2 b, __half2 c) { return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)}; }
inline bool __hlt(__half a, __half b) { return (float)a < (float)b; }
inline bool __hgt(__half a, __half b) { return (float)a > (float)b; }
inline bool __hle(__half a, __half b) { return (float)a <= (float)b; }
inline bool __hge(__half a, __half b) { return (float)a >= (float)b; }
inline bool __heq(__half a, __half b) { return (float)a == (float)b; }
inline __half hsqrt(__half a) { return __half(sqrtf(a)); }
inline __half hexp(__half a) { return __half(expf(a)); }
inline __half2 make_half2(__half x, __half y) { return {x, y}; }
inline __half2 __floats2half2_rn(float x, float y) { return {__half(x), __half(y)}; }
inline __half2 __float2half2_rn(float x) { return {__half(x), __half(x)}; }
inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
inline float2 __half22float2(__half2 h) { return {(float)h.x, (float)h.y}; }
inline __half __low2half(__half2 h) { return h.x; }
inline __half __high2half(__half2 h) { return h.y; }
inline float __low2float(__half2 h) { return h.x; }
inline float __high2float(__half2 h) { return h.y; }
