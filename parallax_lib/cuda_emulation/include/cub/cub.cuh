// CUB's reductions and scans over a block and over a warp.  Its device-wide calls are not here.
#pragma once
#include <chrono>
#include <iterator>
#include "../cuda_runtime.h"
namespace cub {
struct Sum { template <class T> T operator()(const T &a, const T &b) const { return a + b; } };
struct Max { template <class T> T operator()(const T &a, const T &b) const { return a < b ? b : a; } };
struct Min { template <class T> T operator()(const T &a, const T &b) const { return b < a ? b : a; } };
enum BlockReduceAlgorithm { BLOCK_REDUCE_RAKING_COMMUTATIVE_ONLY, BLOCK_REDUCE_RAKING, BLOCK_REDUCE_WARP_REDUCTIONS };
enum BlockScanAlgorithm { BLOCK_SCAN_RAKING, BLOCK_SCAN_RAKING_MEMOIZE, BLOCK_SCAN_WARP_SCANS };
inline int cudacpu_thread() { return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z); }

// The result is thread 0's; every other thread gets back what it gave, as CUB promises nothing there.
template <class T, int X, BlockReduceAlgorithm = BLOCK_REDUCE_WARP_REDUCTIONS, int Y = 1, int Z = 1, int = 0> struct BlockReduce {
  struct TempStorage { T of[X * Y * Z]; };
  TempStorage &storage;
  BlockReduce(TempStorage &s) : storage(s) {}
  template <class F> T Reduce(T v, F f, int valid = X * Y * Z) {
    storage.of[cudacpu_thread()] = v;
    __syncthreads();
    if (cudacpu_thread() == 0)
      for (int i = 1; i < valid; i++) v = f(v, storage.of[i]);
    return v;
  }
  template <int N, class F> T Reduce(T (&v)[N], F f) {
    T all = v[0];
    for (int i = 1; i < N; i++) all = f(all, v[i]);
    return Reduce(all, f);
  }
  T Sum(T v, int valid = X * Y * Z) { return Reduce(v, cub::Sum(), valid); }
  template <int N> T Sum(T (&v)[N]) { return Reduce(v, cub::Sum()); }
};

template <class T, int X, BlockScanAlgorithm = BLOCK_SCAN_RAKING, int Y = 1, int Z = 1, int = 0> struct BlockScan {
  struct TempStorage { T of[X * Y * Z]; };
  TempStorage &storage;
  BlockScan(TempStorage &s) : storage(s) {}
  template <class F> void InclusiveScan(T v, T &out, F f, T &total) {
    storage.of[cudacpu_thread()] = v;
    __syncthreads();
    T all = storage.of[0];
    for (int i = 0; i < X * Y * Z; i++) {
      if (i) all = f(all, storage.of[i]);
      if (i == cudacpu_thread()) out = all;
    }
    total = all;
  }
  template <class F> void ExclusiveScan(T v, T &out, T initial, F f, T &total) {
    storage.of[cudacpu_thread()] = v;
    __syncthreads();
    T all = storage.of[0], before = initial;
    for (int i = 0; i < cudacpu_thread(); i++) before = f(before, storage.of[i]);
    for (int i = 1; i < X * Y * Z; i++) all = f(all, storage.of[i]);
    out = before, total = all;
  }
  template <class F> void InclusiveScan(T v, T &out, F f) { T total; InclusiveScan(v, out, f, total); }
  template <class F> void ExclusiveScan(T v, T &out, T initial, F f) { T total; ExclusiveScan(v, out, initial, f, total); }
  template <int N> void ExclusiveSum(T (&v)[N], T (&out)[N]) {
    T all = v[0], before;
    for (int i = 1; i < N; i++) all = all + v[i];
    ExclusiveSum(all, before);
    for (int i = 0; i < N; i++) all = v[i], out[i] = before, before = before + all;
  }
  template <int N> void InclusiveSum(T (&v)[N], T (&out)[N]) {
    T all = v[0], before;
    for (int i = 1; i < N; i++) all = all + v[i];
    ExclusiveSum(all, before);
    for (int i = 0; i < N; i++) out[i] = before = before + v[i];
  }
  void InclusiveSum(T v, T &out) { InclusiveScan(v, out, cub::Sum()); }
  void InclusiveSum(T v, T &out, T &total) { InclusiveScan(v, out, cub::Sum(), total); }
  void ExclusiveSum(T v, T &out) { ExclusiveScan(v, out, T(), cub::Sum()); }
  void ExclusiveSum(T v, T &out, T &total) { ExclusiveScan(v, out, T(), cub::Sum(), total); }
};

// Lanes of a logical warp of W threads; the reduction's result is its first lane's.
template <class T, int W = 32, int = 0> struct WarpReduce {
  static_assert(W <= 32 && (W & (W - 1)) == 0, "a power of two up to 32");
  struct TempStorage {};
  WarpReduce(TempStorage &) {}
  template <class F> T Reduce(T v, F f, int valid = W) {
    T all = __shfl_sync(mask(), v, 0, W);
    for (int i = 1; i < W; i++) {
      T next = __shfl_sync(mask(), v, i, W);
      if (i < valid) all = f(all, next);
    }
    return cudacpu::lane() % W ? v : all;
  }
  T Sum(T v, int valid = W) { return Reduce(v, cub::Sum(), valid); }
  static unsigned mask() { return (W == 32 ? ~0u : (1u << W % 32) - 1) << (cudacpu::lane() & ~(W - 1)); }
};

template <class T, int W = 32, int = 0> struct WarpScan {
  using Lanes = WarpReduce<T, W>;
  struct TempStorage {};
  WarpScan(TempStorage &) {}
  template <class F> void InclusiveScan(T v, T &out, F f) {
    T all = __shfl_sync(Lanes::mask(), v, 0, W), mine = all;
    for (int i = 1; i < W; i++) {
      all = f(all, __shfl_sync(Lanes::mask(), v, i, W));
      if (i == cudacpu::lane() % W) mine = all;
    }
    out = mine;
  }
  void InclusiveSum(T v, T &out) { InclusiveScan(v, out, cub::Sum()); }
  void InclusiveSum(T v, T &out, T &total) {
    InclusiveSum(v, out);
    total = __shfl_sync(Lanes::mask(), out, W - 1, W);
  }
  void ExclusiveSum(T v, T &out) {
    InclusiveSum(v, v);
    T before = __shfl_up_sync(Lanes::mask(), v, 1, W);
    out = cudacpu::lane() % W ? before : T();
  }
};
}  // namespace cub
