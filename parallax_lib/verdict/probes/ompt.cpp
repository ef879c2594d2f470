// Counts what a program's OpenMP regions really did, by OMPT events of LLVM's runtime; linked into the judged program.
//
// Per thread, CPU time between events goes to the team slot of the region it works in, or to "idle" while it waits at a
// barrier; waits for locks are not looked at, because two events and a clock a lock cost more than most critical sections.  A phase is what lies between two barriers; for each phase the largest and the second largest
// slot are added up, so that work which wanders from thread to thread but never runs on two is told from parallel work.
// Chunks of dynamic loops, sections and explicit tasks are "pieces" that any thread may take, and on a busy machine one
// thread can take them all: their phase is counted as two threads would at best share them, bounded by the largest piece.
// The few OMPT declarations it needs stand here, so that no clang header is needed (OpenMP 5.1, section 4.5).
extern "C" {
typedef unsigned long size_t;
typedef union { unsigned long value; void *ptr; } Data;
typedef void *(*Lookup)(const char *);
typedef int (*SetCallback)(int, void *);
struct Start { int (*initialize)(Lookup, int, Data *); void (*finalize)(Data *); Data data; };
struct Time { long s, ns; };
struct Info { const char *file; void *base; const char *symbol; void *address; };
int clock_gettime(int, Time *);
int dladdr(const void *, Info *);
void *calloc(size_t, size_t);
int sched_yield();
__attribute__((weak)) int __kmpc_global_thread_num(void *);
extern __attribute__((weak)) long parallax_targets;  // regions that ran on the offload device: device.cpp or offloaded.cpp, where linked
__attribute__((weak)) long parallax_seen(char *, long);  // seen.cpp, on a GPU
}

namespace {
enum { PROCESS_CPU = 2, THREAD_CPU = 3, TEAM = 128, DEPTH = 32 };
enum { PARALLEL_BEGIN = 3, PARALLEL_END, TASK_CREATE, TASK_SCHEDULE, IMPLICIT_TASK, WAIT = 16, WORK = 20, DISPATCH = 32 };
enum : unsigned { UNDEFERRED = 0x08000000 };
enum { BEGIN = 1, END = 2, INITIAL = 1, EXPLICIT = 4, TASKWAIT = 5, TASKGROUP = 6 };

struct Lock {
  char held = 0;
  void take() { while (__atomic_test_and_set(&held, __ATOMIC_ACQUIRE)) rest(); }
  void give() { __atomic_clear(&held, __ATOMIC_RELEASE); }
  static void rest();
};
struct Region { Region *free; Lock lock; long phase; unsigned team; long pieces, largest; long busy[TEAM]; };
struct Place { Region *region; long *slot; long phase; bool waits, tasks, pooled; long piece; };
struct Thread { long last; Place at; int depth; unsigned chunks; Place kept[DEPTH]; };

thread_local Thread me;
Thread *main_thread;
Region *unused;  // regions are used again and never freed: a worker can leave the last barrier after its region ended
Lock sums;
long started, regions, solo, team_max = 1, inside, first, second, alone, idle, others, tasks, init;
bool live;

void Lock::rest() { sched_yield(); }

long cpu(int clock) {
  Time t;
  clock_gettime(clock, &t);
  return t.s * 1000000000 + t.ns;
}

void add(long &to, long what) { __atomic_fetch_add(&to, what, __ATOMIC_RELAXED); }

void tick() {
  long now = cpu(THREAD_CPU), spent = now - me.last;
  me.last = now;
  if (!me.at.region) return;
  if (me.at.waits && !me.at.tasks) { add(idle, spent); return; }
  *me.at.slot += spent;
  if (&me != main_thread) add(others, spent);
  if (me.at.pooled) me.at.piece += spent;
}

void finish_piece(bool another) {
  if (me.at.region && me.at.piece) {
    long piece = me.at.piece, seen = __atomic_load_n(&me.at.region->largest, __ATOMIC_RELAXED);
    add(me.at.region->pieces, piece);
    while (piece > seen && !__atomic_compare_exchange_n(&me.at.region->largest, &seen, piece, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
  }
  me.at.piece = 0;
  me.at.pooled = another && me.at.region;
}

void push() { if (me.depth < DEPTH) me.kept[me.depth] = me.at; me.depth++; }
void pop() { if (me.depth > 0 && --me.depth < DEPTH) me.at = me.kept[me.depth]; }

void collect(Region *region) {
  long most = 0, next = 0, all = 0, count = region->team < TEAM ? region->team : TEAM;
  for (long i = 0; i < count; i++) {
    long busy = region->busy[i];
    region->busy[i] = 0;
    all += busy;
    if (busy > most) { next = most; most = busy; }
    else if (busy > next) next = busy;
  }
  long half = region->pieces / 2, shared = region->pieces - (region->largest > half ? region->largest : half);
  region->pieces = region->largest = 0;
  if (shared > next) { next = shared; most = all - shared; }
  sums.take();
  inside += all;
  if (region->team < 2) alone += most;
  else { first += most; second += next; }
  sums.give();
}

void on_parallel_begin(Data *, const void *, Data *parallel, unsigned, int, const void *) {
  tick();
  sums.take();
  Region *region = unused;
  if (region) unused = region->free;
  sums.give();
  if (!region) region = (Region *)calloc(1, sizeof(Region));
  region->phase = region->team = region->pieces = region->largest = 0;
  for (long &busy : region->busy) busy = 0;
  parallel->ptr = region;
}

void on_parallel_end(Data *parallel, Data *, int, const void *) {
  tick();
  Region *region = (Region *)parallel->ptr;
  if (!region) return;
  if (region->team) collect(region);
  if (region->team > 1) add(regions, 1);
  if (region->team == 1) add(solo, 1);
  parallel->ptr = 0;
  sums.take();
  region->free = unused;
  unused = region;
  sums.give();
}

void on_implicit_task(int endpoint, Data *parallel, Data *, unsigned team, unsigned index, int flags) {
  if ((flags & INITIAL) && (team < 2 || !parallel || !parallel->ptr) && endpoint == BEGIN) { push(); return; }  // no league
  tick();
  if (endpoint == END) { finish_piece(false); pop(); return; }
  push();
  Region *region = parallel ? (Region *)parallel->ptr : 0;
  if (!region || (team < 2 && me.at.region)) return;  // a nested team of one works for the team around it
  region->team = team;
  long seen = __atomic_load_n(&team_max, __ATOMIC_RELAXED);
  while (team > seen && !__atomic_compare_exchange_n(&team_max, &seen, (long)team, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
  me.at = Place{region, &region->busy[index % TEAM], 0, false, false, false, 0};
}

void on_wait(int kind, int endpoint, Data *parallel, Data *, const void *) {
  tick();
  if (endpoint == BEGIN) {
    finish_piece(me.at.tasks);
    push();
    me.at.waits = true;
    me.at.tasks = me.at.pooled = false;
    return;
  }
  finish_piece(false);
  pop();
  Region *region = me.at.region;
  if (!parallel && region) { me.at.waits = true; return; }  // a worker leaving its region's last barrier: all is counted
  if (!region || parallel->ptr != region || region->team < 2 || kind == TASKWAIT || kind == TASKGROUP) return;
  region->lock.take();
  if (region->phase == me.at.phase) { collect(region); region->phase++; }
  region->lock.give();
  me.at.phase++;
}

void on_task_create(Data *, const void *, Data *task, int flags, int, const void *) {
  if (!(flags & EXPLICIT)) return;
  task->value = flags & UNDEFERRED ? 2 : 1;
  add(tasks, 1);
}

void on_task_schedule(Data *, int, Data *next) {
  tick();
  finish_piece(next && next->value == 1);
  me.at.tasks = next && next->value;
}

void on_dispatch(Data *, Data *, int, Data) {  // after many chunks a piece is 16 of them: the clock costs as much as a small one
  if (++me.chunks > 64 && me.chunks % 16) return;
  tick();
  finish_piece(true);
}
void on_work(int, int endpoint, Data *, Data *, unsigned long, const void *) {
  if (endpoint == END) { tick(); finish_piece(me.at.tasks); }
}

int initialize(Lookup lookup, int, Data *) {
  SetCallback set = (SetCallback)lookup("ompt_set_callback");
  if (!set) return 0;
  set(PARALLEL_BEGIN, (void *)on_parallel_begin);
  set(PARALLEL_END, (void *)on_parallel_end);
  set(IMPLICIT_TASK, (void *)on_implicit_task);
  set(WAIT, (void *)on_wait);
  set(TASK_CREATE, (void *)on_task_create);
  set(TASK_SCHEDULE, (void *)on_task_schedule);
  set(DISPATCH, (void *)on_dispatch);
  set(WORK, (void *)on_work);
  live = true;
  init = cpu(PROCESS_CPU) - init;
  return 1;
}
void finalize(Data *) {}
Start tool = {initialize, finalize, {0}};

void begin() { started = cpu(PROCESS_CPU), main_thread = &me; }
__attribute__((used, section(".preinit_array"))) void (*const at_start)() = begin;

bool holds(const char *text, const char *word) {
  for (; *text; text++)
    for (long i = 0; text[i] == word[i];)
      if (!word[++i]) return true;
  return false;
}

struct Words {  // no call of the C library, whose functions a program could define
  char *at, *end;
  Words &operator<<(const char *text) {
    while (*text && at < end) *at++ = *text++;
    return *this;
  }
  Words &operator<<(long number) {
    if (number < 0) { *this << "-"; number = -number; }
    long unit = 1;
    while (number / unit > 9) unit *= 10;
    for (; unit && at < end; unit /= 10) *at++ = '0' + number / unit % 10;
    return *this;
  }
};
}  // namespace

extern "C" __attribute__((visibility("default"))) Start *ompt_start_tool(unsigned, const char *) {
  Info info = {};  // only the runtime may start the tool: a program that got at the callbacks could feed them
  if (live || !dladdr(__builtin_return_address(0), &info) || !info.file || !holds(info.file, "/libomp")) return 0;
  init = cpu(PROCESS_CPU);
  return &tool;
}

extern "C" long parallax_proof(char *text, long size) {
  long total = cpu(PROCESS_CPU) - started - (live ? init : 0);
  Words words = {text, text + size};
  words << "runtime=" << (__kmpc_global_thread_num ? "libomp" : "libgomp") << " regions=" << regions << " solo=" << solo << " team=" << team_max
        << " total_us=" << total / 1000 << " inside_us=" << inside / 1000 << " first_us=" << first / 1000 << " second_us=" << second / 1000
        << " alone_us=" << alone / 1000 << " idle_us=" << idle / 1000 << " others_us=" << others / 1000 << " tasks=" << tasks
        << " targets=" << (&parallax_targets ? parallax_targets : 0);
  const long n = words.at - text;
  return parallax_seen ? n + parallax_seen(text + n, size - n) : n;
}
