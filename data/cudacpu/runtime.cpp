// The library behind cuda_runtime.h, one object file: memory spaces, threads of a launch, the runtime's functions.
#include "cuda_runtime.h"
#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/single_threaded.h>
#include <unistd.h>
#include <functional>
#include <map>
#include <set>
#include <vector>
#include "memory.inc"
#include "threads.inc"
#include "launch.inc"
#include "api.inc"
