// Threads of one region as stacks of one thread, each from barrier to barrier: a team of hundreds costs switches in place of waits.
//
// Between two barriers they run in order, from the last one down if BACKWARDS, so that what lies between them has to be independent.
// A thread that leaves while others wait at a barrier would wait for ever: the program ends.
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
static const size_t PAGE = 4096;
static char *page_down(char *p) { return (char *)((uintptr_t)p & ~(PAGE - 1)); }
#include "stacks.inc"
extern "C" int omp_get_max_threads();
extern "C" int omp_get_thread_limit();
namespace {
struct Thread {
  void *at;
  char *low;
  bool done;
  unsigned singles;
};
enum { MOST = 1024 };
const size_t SPAN = 1 << 20;  // of a stack: taken when it is touched
Thread threads[MOST];
void *scheduler, *argument;
void (*work)(void *);
int mine, team = 1;
unsigned claimed;
bool active;
void leave() { cudacpu::cudacpu_switch(&threads[mine].at, scheduler); }
void enter() {
  work(argument);
  threads[mine].done = true;
  leave();
}
void begin(Thread &t) {
  if (!t.low) {
    t.low = (char *)mmap(0, SPAN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (t.low == MAP_FAILED) abort();
    mprotect(t.low, PAGE, PROT_NONE);
  }
  t.done = false, t.singles = 0;
  t.at = cudacpu::new_stack(t.low + SPAN - 128, enter);
}
void run() {
  for (int ended = 0; ended < team;) {
    for (int i = 0; i < team; i++) {
      mine = BACKWARDS ? team - 1 - i : i;
      cudacpu::cudacpu_switch(&scheduler, threads[mine].at);
      ended += threads[mine].done;
    }
    if (ended && ended < team) abort();
  }
}
}  // namespace
extern "C" {
int omp_get_thread_num() { return active ? mine : 0; }
int omp_get_num_threads() { return team; }
int omp_in_parallel() { return team > 1; }
void GOMP_parallel(void (*body)(void *), void *data, unsigned asked, unsigned) {
  unsigned limit = omp_get_thread_limit(), wanted = asked ? asked : omp_get_max_threads();
  wanted = wanted < limit ? wanted : limit;
  if (active || wanted < 2) {  // a region in a region has one thread
    int outer[] = {mine, team};
    bool was = active;
    mine = 0, team = 1, active = false;
    body(data);
    mine = outer[0], team = outer[1], active = was;
    return;
  }
  team = wanted < MOST ? wanted : MOST, active = true, work = body, argument = data, claimed = 0;
  for (int i = 0; i < team; i++) begin(threads[i]);
  run();
  team = 1, active = false, mine = 0;
}
void GOMP_barrier() {
  if (active) leave();
}
char GOMP_single_start() {
  if (!active) return 1;
  if (threads[mine].singles++ != claimed) return 0;
  claimed++;
  return 1;
}
void GOMP_critical_start() {}
void GOMP_critical_end() {}
void GOMP_critical_name_start(void **) {}
void GOMP_critical_name_end(void **) {}
void GOMP_atomic_start() {}
void GOMP_atomic_end() {}
}
