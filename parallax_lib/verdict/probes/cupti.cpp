// Kernels and copies as the device ran them: loaded by the driver (CUDA_INJECTION64_PATH) into a judged program, whose part of
// the harness (launches.cpp, offloaded.cpp) asks for the counts once before the runtime goes away.
//
// In any other process, and where CUPTI refuses, it does nothing: then the program's proof holds no word of the device.
#include <cupti.h>

#include <cstdlib>
#include <cstring>

namespace {
constexpr size_t BYTES = 1 << 20, NAME = 64;
struct Kernel { char name[NAME]; int grid[3], block[3]; long nanoseconds; };
struct Seen { void (*read)(); long kernels, threads, nanoseconds, copies; Kernel longest; };
}  // namespace
extern "C" __attribute__((weak)) Seen parallax_device;  // the program's own

namespace {
void request(uint8_t **buffer, size_t *size, size_t *records) {
  *buffer = (uint8_t *)aligned_alloc(8, BYTES);
  *size = *buffer ? BYTES : 0;
  *records = 0;  // as many as fit
}

void kernel(const CUpti_ActivityKernel9 &k) {  // the fields read here lie where they lie in newer records
  Seen &seen = parallax_device;
  const long nanoseconds = k.end > k.start ? long(k.end - k.start) : 0;
  seen.kernels++;
  seen.threads += (long)k.gridX * k.gridY * k.gridZ * k.blockX * k.blockY * k.blockZ;
  seen.nanoseconds += nanoseconds;
  if (seen.longest.name[0] && nanoseconds <= seen.longest.nanoseconds) return;
  seen.longest = {"", {k.gridX, k.gridY, k.gridZ}, {k.blockX, k.blockY, k.blockZ}, nanoseconds};
  strncpy(seen.longest.name, k.name ? k.name : "?", NAME - 1);
}

void complete(CUcontext, uint32_t, uint8_t *buffer, size_t, size_t valid) {
  for (CUpti_Activity *record = nullptr; cuptiActivityGetNextRecord(buffer, valid, &record) == CUPTI_SUCCESS;) {
    if (record->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) kernel(*(CUpti_ActivityKernel9 *)record);
    if (record->kind == CUPTI_ACTIVITY_KIND_MEMCPY) parallax_device.copies++;
  }
  free(buffer);
}

void read() { cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED); }
}  // namespace

extern "C" int InitializeInjection() {
  if (!&parallax_device) return 1;
  const bool able = !cuptiActivityRegisterCallbacks(request, complete) && !cuptiActivityEnable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) &&
                    !cuptiActivityEnable(CUPTI_ACTIVITY_KIND_MEMCPY);
  if (able) parallax_device.read = read;
  return 1;
}
