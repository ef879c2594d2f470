// Linked into the race stage's program: starts OpenMP's runtime, which reads how it is watched, and then takes that out of the
// environment, so that the program sees what a judged run sees.
extern "C" int omp_get_max_threads();
extern "C" int strncmp(const char *, const char *, unsigned long);
extern "C" void *memset(void *, int, unsigned long);
extern "C" unsigned long strlen(const char *);

static const char *const names[] = {"TSAN_OPTIONS=", "ARCHER_OPTIONS=", "OMP_TOOL_LIBRARIES=", "OMP_TARGET_OFFLOAD="};

__attribute__((constructor(101))) static void wipe(int, char **, char **env) {
  omp_get_max_threads();
  char **kept = env;
  for (; *env; env++) {
    bool ours = false;
    for (const char *name : names) ours = ours || !strncmp(*env, name, strlen(name));
    if (ours) memset(*env, 0, strlen(*env));
    else *kept++ = *env;
  }
  *kept = nullptr;
}
