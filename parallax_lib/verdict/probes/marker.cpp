// Proves normal termination: reads a nonce before any constructor of the program and prints it after the last destructor.
//
// Then it stops the process, so that the supervisor reads from outside what each thread used, and lets it go on.  It speaks through a
// descriptor of its own: a program may close stdout when it has printed all.
typedef unsigned long word;
#if defined(__x86_64__)
static long call(long n, long a, long b, long c) {
  long r;
  __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
  return r;
}
enum { READ = 0, WRITE = 1, PID = 39, CLOCK = 228, CONTROL = 72, KILL = 62 };
#elif defined(__aarch64__)
static long call(long n, long a, long b, long c) {
  register long r8 __asm__("x8") = n, r0 __asm__("x0") = a, r1 __asm__("x1") = b, r2 __asm__("x2") = c;
  __asm__ volatile("svc 0" : "+r"(r0) : "r"(r8), "r"(r1), "r"(r2) : "memory");
  return r0;
}
enum { READ = 63, WRITE = 64, PID = 172, CLOCK = 113, CONTROL = 25, KILL = 129 };
#endif
extern "C" int fflush(void *);
extern "C" __attribute__((weak)) long parallax_proof(char *, long);
extern "C" __attribute__((weak)) void parallax_results(long, const char *);  // results.cpp, where it is asked for
static char line[] = "\n@end 00000000000000000000000000000000\n";
static char proof[1024] = "\n@proof ", first_line[] = "@begin\n";
static long owner, started, out;
enum { STDOUT = 1, HIGH = 1000, DUPLICATE = 1030, STOP = 19 };
static long now() { long t[2]; call(CLOCK, 1, (long)t, 0); return t[0] * 1000000 + t[1] / 1000; }
static void begin() {
  owner = call(PID, 0, 0, 0);
  call(READ, 0, (long)(line + 6), 32);
  out = -1;
  for (long high = HIGH; out < 0 && high > STDOUT; high /= 2) out = call(CONTROL, STDOUT, DUPLICATE, high);  // below the limit for files
  call(WRITE, out, (long)first_line, sizeof first_line - 1);
  started = now();
}
static void end() {
  fflush(0);
  if (call(PID, 0, 0, 0) != owner) return;
  long wall = now() - started, n = 41;
  for (int i = 0; i < 32; i++) proof[8 + i] = line[6 + i];
  for (const char *name = " wall_us="; *name; name++) proof[n++ - 1] = *name;
  long unit = 1;
  while (wall / unit > 9) unit *= 10;
  for (n--; unit; unit /= 10) proof[n++] = '0' + wall / unit % 10;
  proof[n++] = ' ';
  if (parallax_proof) n += parallax_proof(proof + n, sizeof proof - n);
  call(WRITE, out, (long)proof, n);
  call(WRITE, out, (long)line, sizeof line - 1);
  call(KILL, owner, STOP, 0);
  if (!parallax_results) return;
  parallax_results(out, line + 6);  // after the stop: its own time is no thread's of the program
  call(WRITE, out, (long)line, sizeof line - 1);
}
__attribute__((used, section(".preinit_array"))) static void (*const first)() = begin;
__attribute__((used, section(".fini_array.00000"))) static void (*const last)() = end;
