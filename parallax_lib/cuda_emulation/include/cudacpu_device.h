// What kernels call: barriers, warp operations, atomics, integer and floating-point intrinsics.
#pragma once
namespace cudacpu {
enum Op { SYNC, SHUFFLE, BALLOT, MATCH, ACTIVE, ADD, MIN, MAX, UMIN, UMAX, AND, OR, XOR };
int block_barrier(int predicate, int *all, int *any);  // -> how many threads gave a predicate other than 0
// One lane's part in a warp operation: waits for every lane of `mask`; result as the Op says.
uint64_t warp(Op op, unsigned mask, uint64_t value, int source);
int lane();
void grid_barrier();
void yield();
[[noreturn]] void trap(cudaError error, const char *why);
extern unsigned spins;
inline void spin(bool failed) { if (failed && ++spins % 4 == 0) yield(); }  // waiting for another thread's lock

// Before a store: in the second schedule other threads run first, so that an update without an atomic gets lost.
extern bool interleaving;
void pause(const void *p, bool update = false);
template <class L> L &&at(L &&l) {
  if (interleaving) pause((const void *)&l);
  return (L &&)l;
}
template <class L, class F> void update(L &&l, F change) {
  if (!interleaving) return change(l);
  std::remove_cv_t<std::remove_reference_t<L>> v = l;
  change(v);
  pause((const void *)&l, true);
  l = v;
}
template <class L> auto bump(L &&l, int by) {
  std::remove_cv_t<std::remove_reference_t<L>> old = l, v = old;
  v += by;
  if (interleaving) pause((const void *)&l, true);
  l = v;
  return old;
}

template <class T> uint64_t pack(T v) { uint64_t w = 0; static_assert(sizeof(T) <= 8, "at most 8 bytes"); memcpy(&w, &v, sizeof v); return w; }
template <class T> T unpack(uint64_t w) { T v; memcpy((void *)&v, &w, sizeof v); return v; }
template <class T> T shuffle(unsigned mask, T v, int from, bool valid) {
  return unpack<T>(warp(SHUFFLE, mask, pack(v), valid ? from : lane()));
}
}  // namespace cudacpu

inline void __syncthreads() { int a, b; cudacpu::block_barrier(0, &a, &b); }
inline int __syncthreads_count(int p) { int a, b; return cudacpu::block_barrier(p, &a, &b); }
inline int __syncthreads_and(int p) { int a, b; cudacpu::block_barrier(p, &a, &b); return a; }
inline int __syncthreads_or(int p) { int a, b; cudacpu::block_barrier(p, &a, &b); return b; }
inline void __syncwarp(unsigned mask = 0xffffffff) { cudacpu::warp(cudacpu::SYNC, mask, 0, 0); }
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
inline void __nanosleep(unsigned) { cudacpu::yield(); }
inline void __trap() { cudacpu::trap(cudaErrorIllegalInstruction, "__trap()"); }

template <class T> T __shfl_sync(unsigned mask, T v, int source, int width = 32) {
  int base = cudacpu::lane() & ~(width - 1);
  return cudacpu::shuffle(mask, v, base + (source & (width - 1)), true);
}
template <class T> T __shfl_up_sync(unsigned mask, T v, unsigned delta, int width = 32) {
  int lane = cudacpu::lane(), from = lane - (int)delta;
  return cudacpu::shuffle(mask, v, from, from >= (lane & ~(width - 1)));
}
template <class T> T __shfl_down_sync(unsigned mask, T v, unsigned delta, int width = 32) {
  int lane = cudacpu::lane(), from = lane + (int)delta;
  return cudacpu::shuffle(mask, v, from, from < (lane & ~(width - 1)) + width);
}
template <class T> T __shfl_xor_sync(unsigned mask, T v, int bits, int width = 32) {
  int lane = cudacpu::lane(), from = lane ^ bits;
  return cudacpu::shuffle(mask, v, from, from < (lane & ~(width - 1)) + width);
}
inline unsigned __ballot_sync(unsigned mask, int p) { return (unsigned)cudacpu::warp(cudacpu::BALLOT, mask, p != 0, 0); }
inline int __any_sync(unsigned mask, int p) { return __ballot_sync(mask, p) != 0; }
inline int __all_sync(unsigned mask, int p) { return __ballot_sync(mask, !p) == 0; }
inline unsigned __activemask() { return (unsigned)cudacpu::warp(cudacpu::ACTIVE, 0, 0, 0); }
template <class T> unsigned __match_any_sync(unsigned mask, T v) {
  return (unsigned)cudacpu::warp(cudacpu::MATCH, mask, cudacpu::pack(v), 0);
}
template <class T> unsigned __match_all_sync(unsigned mask, T v, int *same) {
  unsigned equal = __match_any_sync(mask, v), all = __ballot_sync(mask, 1);
  *same = equal == all;
  return *same ? all : 0;
}
#define CUDACPU_REDUCE(name, OPI, OPU)                                                                              \
  inline int name(unsigned mask, int v) { return (int)cudacpu::warp(cudacpu::OPI, mask, (uint64_t)(int64_t)v, 0); } \
  inline unsigned name(unsigned mask, unsigned v) { return (unsigned)cudacpu::warp(cudacpu::OPU, mask, v, 0); }
CUDACPU_REDUCE(__reduce_add_sync, ADD, ADD)
CUDACPU_REDUCE(__reduce_min_sync, MIN, UMIN)
CUDACPU_REDUCE(__reduce_max_sync, MAX, UMAX)
CUDACPU_REDUCE(__reduce_and_sync, AND, AND)
CUDACPU_REDUCE(__reduce_or_sync, OR, OR)
CUDACPU_REDUCE(__reduce_xor_sync, XOR, XOR)

#define CUDACPU_ATOMIC(name, T, change)                                                                     \
  inline T name(T *p, T v) { T old = *(volatile T *)p; *(volatile T *)p = change; return old; }             \
  inline T name##_block(T *p, T v) { return name(p, v); }                                                   \
  inline T name##_system(T *p, T v) { return name(p, v); }
#define CUDACPU_WHOLE(M, name, change) M(name, int, change) M(name, unsigned int, change) M(name, unsigned long long, change)
CUDACPU_WHOLE(CUDACPU_ATOMIC, atomicAdd, old + v)
CUDACPU_ATOMIC(atomicAdd, float, old + v)
CUDACPU_ATOMIC(atomicAdd, double, old + v)
CUDACPU_ATOMIC(atomicSub, int, old - v)
CUDACPU_ATOMIC(atomicSub, unsigned int, old - v)
CUDACPU_WHOLE(CUDACPU_ATOMIC, atomicMin, old < v ? old : v)
CUDACPU_ATOMIC(atomicMin, long long, old < v ? old : v)
CUDACPU_WHOLE(CUDACPU_ATOMIC, atomicMax, old > v ? old : v)
CUDACPU_ATOMIC(atomicMax, long long, old > v ? old : v)
CUDACPU_WHOLE(CUDACPU_ATOMIC, atomicAnd, old & v)
CUDACPU_ATOMIC(atomicAnd, long long, old & v)
CUDACPU_WHOLE(CUDACPU_ATOMIC, atomicOr, old | v)
CUDACPU_ATOMIC(atomicOr, long long, old | v)
CUDACPU_WHOLE(CUDACPU_ATOMIC, atomicXor, old ^ v)
CUDACPU_ATOMIC(atomicXor, long long, old ^ v)
CUDACPU_ATOMIC(atomicInc, unsigned int, old >= v ? 0 : old + 1)
CUDACPU_ATOMIC(atomicDec, unsigned int, old == 0 || old > v ? v : old - 1)
#define CUDACPU_EXCHANGE(name, T, change) inline T name(T *p, T v) { T old = *(volatile T *)p; *(volatile T *)p = v; cudacpu::spin(old == v); return old; }
CUDACPU_WHOLE(CUDACPU_EXCHANGE, atomicExch, v)
CUDACPU_EXCHANGE(atomicExch, float, v)
#define CUDACPU_CAS(name, T, change)                                                                          \
  inline T name(T *p, T expected, T v) {                                                                      \
    T old = *(volatile T *)p;                                                                                 \
    if (old == expected) *(volatile T *)p = v;                                                                \
    cudacpu::spin(old != expected);                                                                           \
    return old;                                                                                               \
  }
CUDACPU_WHOLE(CUDACPU_CAS, atomicCAS, v)
CUDACPU_CAS(atomicCAS, unsigned short, v)

template <class T> T __ldg(const T *p) { return *p; }
template <class T> T __ldcg(const T *p) { return *p; }
template <class T> T __ldca(const T *p) { return *p; }
template <class T> T __ldcs(const T *p) { return *p; }
template <class T> void __stcs(T *p, T v) { *p = v; }
template <class T> void __stcg(T *p, T v) { *p = v; }
inline long long clock64() { timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000LL + t.tv_nsec; }
// clock() is the host's own
inline unsigned long long __globaltimer() { return clock64(); }

inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
inline int __clz(int v) { return v ? __builtin_clz(v) : 32; }
inline int __clzll(long long v) { return v ? __builtin_clzll(v) : 64; }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __ffsll(long long v) { return __builtin_ffsll(v); }
inline unsigned __brev(unsigned v) { unsigned r = 0; for (int i = 0; i < 32; i++) r |= (v >> i & 1) << (31 - i); return r; }
inline unsigned long long __brevll(unsigned long long v) { return (unsigned long long)__brev(v) << 32 | __brev(v >> 32); }
#define CUDACPU_BYTES(name, T, W, value)  /* of each of the 8 or 16 bit parts of two words */ \
  inline unsigned name(unsigned a, unsigned b) {                                             \
    unsigned r = 0;                                                                          \
    for (int i = 0; i < 32; i += W) {                                                        \
      int x = (T)(a >> i), y = (T)(b >> i);                                                  \
      r |= ((unsigned)(value) & ((1u << W) - 1)) << i;                                       \
    }                                                                                        \
    return r;                                                                                \
  }
#define CUDACPU_SIMD(n, W, S, U)                     \
  CUDACPU_BYTES(__vadd##n, U, W, x + y)              \
  CUDACPU_BYTES(__vsub##n, U, W, x - y)              \
  CUDACPU_BYTES(__vmaxs##n, S, W, x > y ? x : y)     \
  CUDACPU_BYTES(__vmaxu##n, U, W, x > y ? x : y)     \
  CUDACPU_BYTES(__vmins##n, S, W, x < y ? x : y)     \
  CUDACPU_BYTES(__vminu##n, U, W, x < y ? x : y)     \
  CUDACPU_BYTES(__vabsdiffu##n, U, W, x > y ? x - y : y - x) \
  CUDACPU_BYTES(__vcmpeq##n, U, W, x == y ? -1 : 0)  \
  CUDACPU_BYTES(__vcmpgts##n, S, W, x > y ? -1 : 0)  \
  CUDACPU_BYTES(__vcmpgtu##n, U, W, x > y ? -1 : 0)
CUDACPU_SIMD(2, 16, short, unsigned short)
CUDACPU_SIMD(4, 8, signed char, unsigned char)
inline int __mul24(int a, int b) { return ((a << 8) >> 8) * ((b << 8) >> 8); }
inline unsigned __umul24(unsigned a, unsigned b) { return (a & 0xffffff) * (b & 0xffffff); }
inline int __mulhi(int a, int b) { return (long long)a * b >> 32; }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned long long)a * b >> 32; }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) { return (unsigned __int128)a * b >> 64; }
inline long long __mul64hi(long long a, long long b) { return (__int128)a * b >> 64; }
inline unsigned __sad(int a, int b, unsigned c) { return (a > b ? a - b : b - a) + c; }
inline unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned n) { n &= 31; return n ? hi << n | lo >> (32 - n) : hi; }
inline unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned n) { n &= 31; return n ? lo >> n | hi << (32 - n) : lo; }
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned s) {
  unsigned long long both = (unsigned long long)b << 32 | a, r = 0;
  for (int i = 0; i < 4; i++) r |= (both >> 8 * (s >> 4 * i & 7) & 0xff) << 8 * i;
  return (unsigned)r;
}
#define CUDACPU_BITS(name, To, From) inline To name(From v) { return cudacpu::unpack<To>(cudacpu::pack(v)); }
CUDACPU_BITS(__float_as_int, int, float)
CUDACPU_BITS(__float_as_uint, unsigned, float)
CUDACPU_BITS(__int_as_float, float, int)
CUDACPU_BITS(__uint_as_float, float, unsigned)
CUDACPU_BITS(__double_as_longlong, long long, double)
CUDACPU_BITS(__longlong_as_double, double, long long)
inline int __double2hiint(double v) { return (int)(__double_as_longlong(v) >> 32); }
inline int __double2loint(double v) { return (int)__double_as_longlong(v); }
inline double __hiloint2double(int hi, int lo) { return __longlong_as_double((long long)hi << 32 | (unsigned)lo); }
#define CUDACPU_ROUND(F, From) /* to integers: nearest, zero, down, up */                                          \
  inline int __##F##2int_rn(From v) { return (int)nearbyint(v); } inline int __##F##2int_rz(From v) { return (int)v; } \
  inline int __##F##2int_rd(From v) { return (int)floor(v); } inline int __##F##2int_ru(From v) { return (int)ceil(v); } \
  inline unsigned __##F##2uint_rn(From v) { return (unsigned)nearbyint(v); }                                       \
  inline unsigned __##F##2uint_rz(From v) { return (unsigned)v; }                                                  \
  inline long long __##F##2ll_rn(From v) { return (long long)nearbyint(v); }                                       \
  inline long long __##F##2ll_rz(From v) { return (long long)v; }
CUDACPU_ROUND(float, float)
CUDACPU_ROUND(double, double)
inline float __int2float_rn(int v) { return (float)v; }
inline float __uint2float_rn(unsigned v) { return (float)v; }
inline double __int2double_rn(int v) { return v; }
inline float __double2float_rn(double v) { return (float)v; }

#define CUDACPU_ARITHMETIC(p, T, f)                                                                       \
  inline T __##p##add_rn(T a, T b) { return a + b; } inline T __##p##sub_rn(T a, T b) { return a - b; }   \
  inline T __##p##mul_rn(T a, T b) { return a * b; } inline T __##p##div_rn(T a, T b) { return a / b; }   \
  inline T __##p##rcp_rn(T a) { return 1 / a; } inline T __##p##sqrt_rn(T a) { return std::sqrt(a); }
CUDACPU_ARITHMETIC(f, float, f)
CUDACPU_ARITHMETIC(d, double, )
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
inline float __fdividef(float a, float b) { return a / b; }
inline float fdividef(float a, float b) { return a / b; }
inline float __expf(float x) { return expf(x); }
inline float __exp10f(float x) { return powf(10, x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __log10f(float x) { return log10f(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __tanf(float x) { return tanf(x); }
inline void __sincosf(float x, float *s, float *c) { *s = sinf(x); *c = cosf(x); }
inline float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1) : 0; }
inline float __frsqrt_rn(float x) { return 1 / sqrtf(x); }
inline float rsqrtf(float x) { return 1 / sqrtf(x); }
inline double rsqrt(double x) { return 1 / sqrt(x); }
inline float rsqrt(float x) { return 1 / sqrtf(x); }
inline float rcbrtf(float x) { return 1 / cbrtf(x); }
inline double rcbrt(double x) { return 1 / cbrt(x); }
inline float rhypotf(float x, float y) { return 1 / hypotf(x, y); }
inline double rhypot(double x, double y) { return 1 / hypot(x, y); }
inline float norm3df(float x, float y, float z) { return sqrtf(x * x + y * y + z * z); }
inline double norm3d(double x, double y, double z) { return sqrt(x * x + y * y + z * z); }
inline float sinpif(float x) { return (float)sin(M_PI * x); }
inline double sinpi(double x) { return sin(M_PI * x); }
inline float cospif(float x) { return (float)cos(M_PI * x); }
inline double cospi(double x) { return cos(M_PI * x); }
inline float normcdff(float x) { return 0.5f * erfcf(-x * 0.70710678f); }
inline double normcdf(double x) { return 0.5 * erfc(-x * M_SQRT1_2); }

#define CUDACPU_MINMAX(T, A, B)                                            \
  inline T min(A a, B b) { return (T)a < (T)b ? (T)a : (T)b; }             \
  inline T max(A a, B b) { return (T)a > (T)b ? (T)a : (T)b; }
#define CUDACPU_INTEGERS(S, U) CUDACPU_MINMAX(S, S, S) CUDACPU_MINMAX(U, U, U) CUDACPU_MINMAX(U, S, U) CUDACPU_MINMAX(U, U, S)
CUDACPU_INTEGERS(int, unsigned int)
CUDACPU_INTEGERS(long, unsigned long)
CUDACPU_INTEGERS(long long, unsigned long long)
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
inline double min(float a, double b) { return fmin(a, b); }
inline double max(float a, double b) { return fmax(a, b); }
inline double min(double a, float b) { return fmin(a, b); }
inline double max(double a, float b) { return fmax(a, b); }
inline unsigned umin(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned umax(unsigned a, unsigned b) { return a > b ? a : b; }
