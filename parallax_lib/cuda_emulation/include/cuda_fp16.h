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
#define CUDACPU_HALF_TEST(name, op)                                                                            \
  inline bool __h##name(__half a, __half b) { return (float)a op(float) b; }                                   \
  inline __half2 __h##name##2(__half2 a, __half2 b) { return {(float)__h##name(a.x, b.x), (float)__h##name(a.y, b.y)}; } \
  inline bool __hb##name##2(__half2 a, __half2 b) { return __h##name(a.x, b.x) && __h##name(a.y, b.y); }
CUDACPU_HALF_TEST(lt, <)
CUDACPU_HALF_TEST(gt, >)
CUDACPU_HALF_TEST(le, <=)
CUDACPU_HALF_TEST(ge, >=)
CUDACPU_HALF_TEST(eq, ==)
inline bool __hne(__half a, __half b) { float x = a, y = b; return x < y || x > y; }  // ordered: false beside a NaN
inline __half2 __hne2(__half2 a, __half2 b) { return {(float)__hne(a.x, b.x), (float)__hne(a.y, b.y)}; }
inline bool __hisnan(__half a) { return std::isnan((float)a); }
inline __half __hmax(__half a, __half b) { return __half(fmaxf(a, b)); }
inline __half __hmin(__half a, __half b) { return __half(fminf(a, b)); }
#define CUDACPU_HALF_MATH(name, f)                                 \
  inline __half h##name(__half a) { return __half(f((float)a)); }  \
  inline __half2 h2##name(__half2 a) { return {h##name(a.x), h##name(a.y)}; }
CUDACPU_HALF_MATH(sqrt, sqrtf)
CUDACPU_HALF_MATH(rsqrt, 1.0f / sqrtf)
CUDACPU_HALF_MATH(rcp, 1.0f /)
CUDACPU_HALF_MATH(exp, expf)
CUDACPU_HALF_MATH(exp2, exp2f)
CUDACPU_HALF_MATH(log, logf)
CUDACPU_HALF_MATH(log2, log2f)
CUDACPU_HALF_MATH(sin, sinf)
CUDACPU_HALF_MATH(cos, cosf)
CUDACPU_HALF_MATH(floor, floorf)
CUDACPU_HALF_MATH(ceil, ceilf)
CUDACPU_HALF_MATH(trunc, truncf)
CUDACPU_HALF_MATH(rint, rintf)
inline __half __habs(__half a) { return __half(fabsf(a)); }
inline __half2 __habs2(__half2 a) { return {__habs(a.x), __habs(a.y)}; }
inline __half2 __hneg2(__half2 a) { return {-a.x, -a.y}; }
inline __half2 __hmax2(__half2 a, __half2 b) { return {__hmax(a.x, b.x), __hmax(a.y, b.y)}; }
inline __half2 __hmin2(__half2 a, __half2 b) { return {__hmin(a.x, b.x), __hmin(a.y, b.y)}; }
#define CUDACPU_HALF2(op)                                                                            \
  inline __half2 operator op(__half2 a, __half2 b) { return {a.x op b.x, a.y op b.y}; }              \
  inline __half2 &operator op##=(__half2 &a, __half2 b) { return a = a op b; }
CUDACPU_HALF2(+)
CUDACPU_HALF2(-)
CUDACPU_HALF2(*)
CUDACPU_HALF2(/)
inline __half2 make_half2(__half x, __half y) { return {x, y}; }
inline __half2 __floats2half2_rn(float x, float y) { return {__half(x), __half(y)}; }
inline __half2 __float2half2_rn(float x) { return {__half(x), __half(x)}; }
inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
inline __half2 __float22half2_rn(float2 v) { return {__half(v.x), __half(v.y)}; }
inline __half2 __half2half2(__half x) { return {x, x}; }
inline __half2 __low2half2(__half2 h) { return {h.x, h.x}; }
inline __half2 __high2half2(__half2 h) { return {h.y, h.y}; }
inline __half2 __lows2half2(__half2 a, __half2 b) { return {a.x, b.x}; }
inline __half2 __highs2half2(__half2 a, __half2 b) { return {a.y, b.y}; }
inline __half2 __lowhigh2highlow(__half2 h) { return {h.y, h.x}; }
inline int __half2int_rn(__half h) { return __float2int_rn(h); }
inline int __half2int_rz(__half h) { return __float2int_rz(h); }
inline float2 __half22float2(__half2 h) { return {(float)h.x, (float)h.y}; }
inline __half __low2half(__half2 h) { return h.x; }
inline __half __high2half(__half2 h) { return h.y; }
inline float __low2float(__half2 h) { return h.x; }
inline float __high2float(__half2 h) { return h.y; }
