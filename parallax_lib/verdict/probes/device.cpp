// Keeps the x86_64 offload device from following host pointers; linked into programs that are built for that device.
//
// It runs in the host's address space, so a pointer that was never mapped works there and on no GPU.  Before a target
// region starts, every such pointer that it can see is given upper bits that no address has, and gets them back
// afterwards: one that is only carried along does no harm, one that is followed is a segmentation fault, as on a GPU.  It
// looks at pointers passed by themselves and at every word of mapped or copied objects up to LARGEST bytes, which finds
// std::vector and structures of pointers.  It does not see pointers in larger arrays or behind arrays of the host's stack
// that are mapped by themselves.  What the device owns (mapped copies, omp_target_alloc) is known and left alone.
// Target tasks with nowait run at once, because that device has no queues.
extern "C" {
typedef unsigned long size_t;
struct Args { unsigned version, count; void **bases, **begins; long *sizes, *types; void **names, **mappers; };
void *dlsym(void *, const char *);
void *malloc(size_t);
void free(void *);
int msync(void *, size_t, int);
int sched_yield();
#pragma weak omp_get_mapped_ptr
void *omp_get_mapped_ptr(const void *, int);
#pragma weak omp_get_default_device
int omp_get_default_device();
#pragma weak omp_get_initial_device
int omp_get_initial_device();
long parallax_targets;
__attribute__((weak)) void parallax_giving(void *, long), parallax_given(void *, long);  // results.cpp, where it is linked
}

namespace {
typedef unsigned long word;
typedef int Kernel(void *, long, int, int, void *, Args *);
typedef int Copy(void *, const void *, size_t, size_t, size_t, int, int);
typedef void Data(void *, long, unsigned, void **, void **, long *, long *, void **, void **);
enum : long { FROM = 2, ALWAYS = 4, RETURNED = 0x40, PRIVATE = 0x80, LITERAL = 0x100, POINTER_AND_OBJECT = 0x10, PARAMETER = 0x20, CAPTURE = LITERAL | POINTER_AND_OBJECT };
enum { OWNED = 4096, LARGEST = 4096, PAGE = 4096 };
const char *const BEGIN = "__tgt_target_data_begin_mapper", *const END = "__tgt_target_data_end_mapper";
const word MARK = 0xbadcUL << 48, UPPER = 0xffffUL << 48;

struct Range { word from, to; const void *host; };
Range owned[OWNED];  // the device's memory: copies of mapped objects, and what omp_target_alloc gave
long owners;
char busy;

void take() { while (__atomic_test_and_set(&busy, __ATOMIC_ACQUIRE)) sched_yield(); }
void give() { __atomic_clear(&busy, __ATOMIC_RELEASE); }

template <class F> F *real(const char *name) { return (F *)dlsym((void *)-1, name); }  // RTLD_NEXT

void own(const void *at, long size, const void *host) {
  Range mine = {(word)at, (word)at + size, host};
  for (long i = 0; i < owners; i++)
    if (owned[i].from <= mine.from && mine.to <= owned[i].to) return;
  if (at && size > 0 && owners < OWNED) owned[owners++] = mine;
}

void disown(const void *at, const void *host) {
  for (long i = owners; i-- > 0;)
    if ((at && owned[i].from == (word)at) || (host && owned[i].host == host)) owned[i] = owned[--owners];
}

bool is_owned(word at) {
  for (long i = 0; i < owners; i++)
    if (owned[i].from <= at && at <= owned[i].to) return true;
  return owners == OWNED;  // no room to know them all
}

bool is_mapped(word at) { return msync((void *)(at & -(word)PAGE), 1, 1) == 0; }

bool is_host(word at) {  // one past the end of an object counts as inside it
#ifdef UNIFIED
  return false;
#endif
  if (at >> 47 || at < ((word)&busy & ~0xffffffUL)) return false;
  return (is_mapped(at) || is_mapped(at - 1)) && !is_owned(at);
}

void *copy_of(void *begin, long device) { return omp_get_mapped_ptr ? omp_get_mapped_ptr(begin, (int)device) : 0; }

// Of an object's copy on the device; a word that differs from the host's was given to it by the runtime.
void mark(word *copy, const word *host, long size) {
  if (size > LARGEST || ((word)copy | (word)host) % sizeof(word)) return;
  for (long i = 0; i < size / (long)sizeof(word); i++)
    if (copy[i] == host[i] && is_host(copy[i])) copy[i] |= MARK;
}

void unmark(word *copy, long size) {
  if (size > LARGEST || (word)copy % sizeof(word)) return;
  for (long i = 0; i < size / (long)sizeof(word); i++)
    if ((copy[i] & UPPER) == MARK && is_host(copy[i] & ~UPPER)) copy[i] &= ~UPPER;
}

bool is_object(const Args &args, unsigned i) { return args.begins[i] && args.sizes[i] > 0 && !(args.types[i] & (PRIVATE | LITERAL)); }

word *copy_on(const Args &args, unsigned i, long device) {
  void *copy = is_object(args, i) ? copy_of(args.begins[i], device) : 0;
  return copy == args.begins[i] ? 0 : (word *)copy;
}

void mark_objects(const Args &args, long device) {
  for (unsigned i = 0; i < args.count; i++) own(copy_on(args, i, device), args.sizes[i], args.begins[i]);
  for (unsigned i = 0; i < args.count; i++)
    if (word *copy = copy_on(args, i, device)) mark(copy, (word *)args.begins[i], args.sizes[i]);
}

void unmark_objects(const Args &args, long device) {
  for (unsigned i = 0; i < args.count; i++)
    if (word *copy = copy_on(args, i, device)) unmark(copy, args.sizes[i]);
}

// Pointers passed by themselves, and objects that are copied into the region: these in copies of their own.
void mark_arguments(const Args &args, long device, void **bases, void **begins, void **made) {
  for (unsigned i = 0; i < args.count; i++) {
    long type = args.types[i], size = args.sizes[i];
    bases[i] = args.bases[i];
    begins[i] = args.begins[i];
    made[i] = 0;
    if (!begins[i] || type & LITERAL) continue;
    if (!size && type & PARAMETER && !(type & POINTER_AND_OBJECT) && is_host((word)begins[i]) && !copy_of(begins[i], device)) {
      bases[i] = (void *)((word)bases[i] | MARK);
      begins[i] = (void *)((word)begins[i] | MARK);
    } else if (type & PRIVATE && size >= (long)sizeof(word) && size <= LARGEST && bases[i] == begins[i]) {
      made[i] = malloc(size);
      __builtin_memcpy(made[i], begins[i], size);
      mark((word *)made[i], (word *)begins[i], size);
      bases[i] = begins[i] = made[i];
    }
  }
  for (unsigned i = 0; i < args.count; i++) {  // what a lambda captured: the runtime writes the device's pointer into it
    long type = args.types[i], lambda = (type >> 48 & 0xffff) - 1;
    if ((type & CAPTURE) == CAPTURE && lambda >= 0 && lambda < args.count && made[lambda])
      bases[i] = (char *)made[lambda] + ((char *)bases[i] - (char *)args.begins[lambda]);
  }
}

void begin(void *place, long device, const Args &args) {
  real<Data>(BEGIN)(place, device, args.count, args.bases, args.begins, args.sizes, args.types, args.names, args.mappers);
}

// Whether an object's copy goes back when this user of it leaves: it is there before, and no longer after unless it always goes back.
bool may_come_back(const Args &args, unsigned i, int id) {
  return parallax_giving && args.types[i] & FROM && is_object(args, i) && copy_of(args.begins[i], id);
}

void end(void *place, long device, const Args &args, int id) {
  char *const comes = (char *)malloc(args.count + 1);
  for (unsigned i = 0; i < args.count; i++) {
    comes[i] = may_come_back(args, i, id);
    if (comes[i]) parallax_giving(args.begins[i], args.sizes[i]);
  }
  real<Data>(END)(place, device, args.count, args.bases, args.begins, args.sizes, args.types, args.names, args.mappers);
  for (unsigned i = 0; i < args.count; i++)
    if (comes[i] && (args.types[i] & ALWAYS || !copy_of(args.begins[i], id))) parallax_given(args.begins[i], args.sizes[i]);
  free(comes);
  for (unsigned i = 0; i < args.count; i++)
    if (is_object(args, i) && !copy_of(args.begins[i], id)) disown(0, args.begins[i]);
}

int number(long device) { return device < 0 && omp_get_default_device ? omp_get_default_device() : (int)device; }

int launch(void *place, long device, int teams, int threads, void *host, Args *args) {
  const Args kept = *args;  // the runtime appends an argument of its own
  int id = number(device);
  void **lists = (void **)malloc((3 * kept.count + 1) * sizeof(void *)), **made = lists + 2 * kept.count;
  take();
  begin(place, device, kept);  // so that the launch itself moves no object
  mark_objects(kept, id);
  mark_arguments(kept, id, args->bases = lists, args->begins = lists + kept.count, made);
  int failed = real<Kernel>("__tgt_target_kernel")(place, device, teams, threads, host, args);
  *args = kept;
  unmark_objects(kept, id);
  end(place, device, kept, id);
  if (!failed) parallax_targets++;
  give();
  for (unsigned i = 0; i < kept.count; i++) free(made[i]);
  free(lists);
  return failed;
}

void enter(void *place, long device, const Args &args) {
  begin(place, device, args);
  take();
  for (unsigned i = 0; i < args.count; i++) own(copy_on(args, i, number(device)), args.sizes[i], args.begins[i]);
  give();
}

void update(void *place, long device, const Args &args) {
  const int id = number(device);
  for (unsigned i = 0; i < args.count; i++)
    if (may_come_back(args, i, id)) parallax_giving(args.begins[i], args.sizes[i]);
  real<Data>("__tgt_target_data_update_mapper")(place, device, args.count, args.bases, args.begins, args.sizes, args.types, args.names,
                                                args.mappers);
  for (unsigned i = 0; i < args.count; i++)
    if (may_come_back(args, i, id)) parallax_given(args.begins[i], args.sizes[i]);
}

void leave(void *place, long device, const Args &args) {
  take();
  end(place, device, args, number(device));
  give();
}
}  // namespace

extern "C" {
#define WHERE void *place, long device
#define MAPS unsigned count, void **bases, void **begins, long *sizes, long *types, void **names, void **mappers
#define ARGS {0, count, bases, begins, sizes, types, names, mappers}
#define DEPENDENCES int, void *, int, void *
int __tgt_target_kernel(WHERE, int teams, int threads, void *host, Args *args) { return launch(place, device, teams, threads, host, args); }
int __tgt_target_kernel_nowait(WHERE, int teams, int threads, void *host, Args *args, DEPENDENCES) {
  return launch(place, device, teams, threads, host, args);
}
void __tgt_target_data_begin_mapper(WHERE, MAPS) { enter(place, device, ARGS); }
void __tgt_target_data_begin_nowait_mapper(WHERE, MAPS, DEPENDENCES) { enter(place, device, ARGS); }
void __tgt_target_data_end_mapper(WHERE, MAPS) { leave(place, device, ARGS); }
void __tgt_target_data_end_nowait_mapper(WHERE, MAPS, DEPENDENCES) { leave(place, device, ARGS); }
void __tgt_target_data_update_mapper(WHERE, MAPS) { update(place, device, ARGS); }
void __tgt_target_data_update_nowait_mapper(WHERE, MAPS, DEPENDENCES) { update(place, device, ARGS); }
int omp_target_memcpy(void *to, const void *from, size_t bytes, size_t to_offset, size_t from_offset, int to_device, int from_device) {
  const bool comes = parallax_giving && to_device == omp_get_initial_device() && from_device != to_device;
  if (comes) parallax_giving((char *)to + to_offset, (long)bytes);
  const int failed = real<Copy>("omp_target_memcpy")(to, from, bytes, to_offset, from_offset, to_device, from_device);
  if (comes) parallax_given((char *)to + to_offset, (long)bytes);
  return failed;
}
void *omp_target_alloc(size_t size, int device) {
  void *at = real<void *(size_t, int)>("omp_target_alloc")(size, device);
  take();
  own(at, size, 0);
  give();
  return at;
}
void omp_target_free(void *at, int device) {
  take();
  disown(at, 0);
  give();
  real<void(void *, int)>("omp_target_free")(at, device);
}
}

// LLVM's runtime writes the device's image to a file that it names /tmp/tmpfile_XXXXXX.  Where /tmp cannot be written, in a sandbox
// without folders of its own, the same name in the working folder does.
extern "C" int mkostemp(char *, int);
extern "C" __attribute__((weak)) int mkstemp(char *name) {
  const char tmp[] = "/tmp/";
  long length = 0;
  while (name[length]) length++;
  int file = mkostemp(name, 0);
  for (long i = 0; file < 0 && i < 5; i++)
    if (name[i] != tmp[i]) return file;
  if (file >= 0) return file;
  name[0] = '.';
  for (long i = 1; i + 3 <= length; i++) name[i] = name[i + 3];
  for (long i = length - 9; i < length - 3; i++) name[i] = 'X';
  return mkostemp(name, 0);
}
