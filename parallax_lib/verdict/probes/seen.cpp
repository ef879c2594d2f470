// What CUPTI saw on the device: cupti.cpp, where it was loaded, finds this in the program's dynamic symbols and writes into it.
extern "C" {
typedef unsigned long size_t;
int snprintf(char *, size_t, const char *, ...);
}

struct Kernel { char name[64]; int grid[3], block[3]; long nanoseconds; };
struct Seen { void (*read)(); long kernels, threads, nanoseconds, copies; Kernel longest; };
extern "C" Seen parallax_device;
Seen parallax_device;

// Its words of the proof line; none where CUPTI was not there.
extern "C" long parallax_seen(char *text, long size) {
  const Seen &seen = parallax_device;
  Kernel k = seen.longest;
  if (!seen.read || size < 512) return 0;
  for (char *c = k.name; *c; c++)
    if (!(*c == '_' || (*c >= '0' && *c <= '9') || (*c >= 'A' && *c <= 'Z') || (*c >= 'a' && *c <= 'z'))) *c = '?';
  return snprintf(text, size, " device_kernels=%ld device_threads=%ld device_us=%ld device_copies=%ld device_longest=%s<%d,%d,%d;%d,%d,%d>",
                  seen.kernels, seen.threads, seen.nanoseconds / 1000, seen.copies, k.name, k.grid[0], k.grid[1], k.grid[2], k.block[0],
                  k.block[1], k.block[2]);
}
