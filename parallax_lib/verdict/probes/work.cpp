// Counts what a program's threads execute: basic blocks, bytes read, bytes written.  Linked into a second build of a judged program, whose
// code g++ made call these functions (-fsanitize-coverage=trace-pc, -fsanitize=kernel-address); never into a timed or compared run.
//
// Counts, not times: they are the same on a busy machine.  What is told is the work on the critical path as far as counts show it: between
// two regions what all threads do, between two barriers of a region what the busiest of its threads does, of a launch (CUDA, emulated) the
// busiest device thread and, apart from it, the host.  Threads that a program starts by itself share no region's work: theirs is added.
// Busiest is said of each measure alone.  Threads of a region start together and yield often, so that any of them can take a share of what
// is handed out piece by piece.
extern "C" {
int sched_yield();
__attribute__((weak)) int omp_get_num_threads();
extern __attribute__((weak)) unsigned long cudacpu_running;  // the emulator: 0 on the host, else 1 + the thread's number
extern __attribute__((weak)) unsigned long cudacpu_launched;  // launches so far
}

namespace {
enum { MOST = 1024, PHASES = 4096, SLOTS = 1 << 16, TURN = 512 };
struct Count {
  long blocks, reads, writes;
  void operator+=(const Count &o) { blocks += o.blocks, reads += o.reads, writes += o.writes; }
};
struct alignas(64) Thread { Count now; unsigned phase; int depth; bool member; };  // member: of the region that runs
struct Phase { unsigned number; Count busiest; };
struct Slot { unsigned long launch; Count count; };

Thread threads[MOST];
int known;
thread_local Thread *mine;
Phase phases[PHASES];
Count sum, device, launch_busiest;
char held;
Slot slots[SLOTS];
unsigned long launch;

Thread &me() {
  if (!mine) {
    int n = __atomic_fetch_add(&known, 1, __ATOMIC_RELAXED);
    mine = &threads[n < MOST ? n : MOST - 1];
  }
  return *mine;
}

void offer(Count &best, const Count &count) {
  if (count.blocks > best.blocks) best.blocks = count.blocks;
  if (count.reads > best.reads) best.reads = count.reads;
  if (count.writes > best.writes) best.writes = count.writes;
}

// A slot serves every 4096th phase: all threads have left the one that it held.
void flush(Thread &t) {
  while (__atomic_test_and_set(&held, __ATOMIC_ACQUIRE)) sched_yield();
  Phase &phase = phases[t.phase % PHASES];
  if (phase.number != t.phase) sum += phase.busiest, phase = {t.phase, {}};
  offer(phase.busiest, t.now);
  t.now = {};
  __atomic_clear(&held, __ATOMIC_RELEASE);
}

// All that threads left belongs to what has just ended.
void settle() {
  unsigned last = 0;
  for (int i = 0; i < known && i < MOST; i++) {
    Thread &t = threads[i];
    last = t.phase > last ? t.phase : last;
    if (t.member) flush(t);
    else sum += t.now, t.now = {};
    t.phase = 0, t.member = false;
  }
  for (unsigned p = 0; p <= last && p < PHASES; p++) sum += phases[p].busiest, phases[p] = {};
}

Count &place() {
  unsigned long running = &cudacpu_running ? cudacpu_running : 0;
  if (!running) return me().now;
  if (unsigned long n = cudacpu_launched; n != launch) device += launch_busiest, launch_busiest = {}, launch = n;
  Slot &slot = slots[running % SLOTS];
  if (slot.launch != launch) slot = {launch, {}};
  offer(launch_busiest, slot.count);
  return slot.count;
}

struct Team { void (*body)(void *); void *data; int arrived; };
void start(void *data) {
  Team &team = *(Team *)data;
  int all = omp_get_num_threads();
  __atomic_fetch_add(&team.arrived, 1, __ATOMIC_RELEASE);
  while (__atomic_load_n(&team.arrived, __ATOMIC_ACQUIRE) < all) sched_yield();
  me().depth++;
  me().member = true;
  team.body(team.data);
  me().depth--;
}
}  // namespace

extern "C" {
void __sanitizer_cov_trace_pc() {
  Count &count = place();
  if (!(++count.blocks % TURN) && !&cudacpu_running) sched_yield();
}
#define SIZE(N)                                                        \
  void __asan_load##N##_noabort(unsigned long) { place().reads += N; } \
  void __asan_store##N##_noabort(unsigned long) { place().writes += N; }
SIZE(1) SIZE(2) SIZE(4) SIZE(8) SIZE(16)
void __asan_loadN_noabort(unsigned long, unsigned long size) { place().reads += size; }
void __asan_storeN_noabort(unsigned long, unsigned long size) { place().writes += size; }
void __asan_handle_no_return() {}
void __asan_before_dynamic_init(const char *) {}
void __asan_after_dynamic_init() {}

typedef long Any;
#define PARAMETERS Any a, Any b, Any c, Any d, Any e, Any f, Any g, Any h
#define REGION(NAME)                                                                              \
  Any __real_##NAME(PARAMETERS);                                                                  \
  Any __wrap_##NAME(PARAMETERS) {                                                                 \
    Team team = {(void (*)(void *))a, (void *)b, 0};                                              \
    const bool outer = !me().depth;                                                               \
    if (outer) settle();                                                                          \
    const Any got = __real_##NAME((Any)start, (Any)&team, c, d, e, f, g, h);                      \
    if (outer) settle();                                                                          \
    return got;                                                                                   \
  }
#define BARRIER(NAME)                                       \
  Any __real_##NAME(PARAMETERS);                            \
  Any __wrap_##NAME(PARAMETERS) {                           \
    const Any got = __real_##NAME(a, b, c, d, e, f, g, h);  \
    if (me().depth == 1) flush(me()), me().phase++;         \
    return got;                                             \
  }
REGIONS
BARRIERS

long TOLD_BY(char *text, long size) {
  settle();
  device += launch_busiest;
  long n = 0;
  auto word = [&](const char *name, long number) {
    for (; *name && n < size - 24; name++) text[n++] = *name;
    long unit = 1;
    while (number / unit > 9) unit *= 10;
    for (; unit && n < size - 2; unit /= 10) text[n++] = '0' + number / unit % 10;
    text[n++] = ' ';
  };
  word("blocks=", sum.blocks), word("reads=", sum.reads), word("writes=", sum.writes);
  word("device_blocks=", device.blocks), word("device_reads=", device.reads), word("device_writes=", device.writes);
  return n;
}
}
