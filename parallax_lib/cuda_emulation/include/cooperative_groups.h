// Cooperative groups: blocks, tiles of a warp, coalesced threads, the grid of a cooperative launch.
#pragma once
#include "cuda_runtime.h"
namespace cooperative_groups {
struct thread_block {
  static void sync() { __syncthreads(); }
  static unsigned size() { return blockDim.x * blockDim.y * blockDim.z; }
  static unsigned num_threads() { return size(); }
  static unsigned thread_rank() { return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z); }
  static dim3 group_index() { return blockIdx; }
  static dim3 thread_index() { return threadIdx; }
  static dim3 group_dim() { return blockDim; }
  static dim3 dim_threads() { return blockDim; }
};
inline thread_block this_thread_block() { return {}; }

struct grid_group {
  static bool is_valid() { return true; }
  static void sync() { cudacpu::grid_barrier(); }
  static unsigned long long size() { return (unsigned long long)gridDim.x * gridDim.y * gridDim.z * thread_block::size(); }
  static unsigned long long num_threads() { return size(); }
  static unsigned long long block_rank() { return blockIdx.x + (unsigned long long)gridDim.x * (blockIdx.y + (unsigned long long)gridDim.y * blockIdx.z); }
  static unsigned long long num_blocks() { return (unsigned long long)gridDim.x * gridDim.y * gridDim.z; }
  static unsigned long long thread_rank() { return block_rank() * thread_block::size() + thread_block::thread_rank(); }
  static dim3 group_dim() { return gridDim; }
  static dim3 dim_blocks() { return gridDim; }
};
inline grid_group this_grid() { return {}; }

struct lanes_group {  // some lanes of the calling thread's warp, in order
  unsigned mask;
  void sync() const { __syncwarp(mask); }
  unsigned size() const { return __popc(mask); }
  unsigned num_threads() const { return size(); }
  unsigned thread_rank() const { return __popc(mask & ((1u << cudacpu::lane()) - 1)); }
  int place(unsigned rank) const {
    for (int l = 0; l < 32; l++)
      if (mask >> l & 1 && rank-- == 0) return l;
    return cudacpu::lane();
  }
  template <class T> T shfl(T v, unsigned rank) const { return __shfl_sync(mask, v, place(rank % size())); }
  template <class T> T shfl_down(T v, unsigned d) const {
    unsigned r = thread_rank() + d;
    return __shfl_sync(mask, v, r < size() ? place(r) : cudacpu::lane());
  }
  template <class T> T shfl_up(T v, unsigned d) const {
    unsigned r = thread_rank();
    return __shfl_sync(mask, v, r >= d ? place(r - d) : cudacpu::lane());
  }
  template <class T> T shfl_xor(T v, unsigned bits) const { return __shfl_sync(mask, v, place(thread_rank() ^ bits)); }
  unsigned pack(unsigned lanes) const {
    unsigned r = 0, n = 0;
    for (int l = 0; l < 32; l++)
      if (mask >> l & 1) r |= (lanes >> l & 1) << n++;
    return r;
  }
  unsigned ballot(int p) const { return pack(__ballot_sync(mask, p)); }
  int any(int p) const { return __any_sync(mask, p); }
  int all(int p) const { return __all_sync(mask, p); }
  template <class T> unsigned match_any(T v) const { return pack(__match_any_sync(mask, v)); }
};
struct coalesced_group : lanes_group {};
inline coalesced_group coalesced_threads() { return {{__activemask()}}; }

struct thread_group : lanes_group {
  thread_group(lanes_group g) : lanes_group(g) {}
};
template <unsigned N, class Parent = void> struct thread_block_tile : lanes_group {
  static_assert(N <= 32 && (N & (N - 1)) == 0, "tiles of up to 32 threads");
  explicit thread_block_tile(lanes_group g) : lanes_group(g) {}
  template <class Other> thread_block_tile(const thread_block_tile<N, Other> &g) : lanes_group(g) {}
  unsigned meta_group_rank() const { return thread_block::thread_rank() / N; }
  unsigned meta_group_size() const { return (thread_block::size() + N - 1) / N; }
};
inline unsigned tile_mask(unsigned n) {
  return (n == 32 ? ~0u : (1u << n) - 1) << (cudacpu::lane() & ~(n - 1));
}
template <unsigned N, class G> thread_block_tile<N, G> tiled_partition(const G &) { return thread_block_tile<N, G>(lanes_group{tile_mask(N)}); }
template <class G> thread_group tiled_partition(const G &, unsigned n) { return {lanes_group{tile_mask(n)}}; }
template <class G> void sync(const G &g) { g.sync(); }

template <class T> struct plus { T operator()(T a, T b) const { return a + b; } };
template <class T> struct less { T operator()(T a, T b) const { return b < a ? b : a; } };
template <class T> struct greater { T operator()(T a, T b) const { return a < b ? b : a; } };
template <class T> struct bit_and { T operator()(T a, T b) const { return a & b; } };
template <class T> struct bit_or { T operator()(T a, T b) const { return a | b; } };
template <class T> struct bit_xor { T operator()(T a, T b) const { return a ^ b; } };
template <class G, class T, class F> T reduce(const G &g, T v, F f) {
  T all = g.shfl(v, 0);
  for (unsigned r = 1; r < g.size(); r++) all = f(all, g.shfl(v, r));
  return all;
}
}  // namespace cooperative_groups
