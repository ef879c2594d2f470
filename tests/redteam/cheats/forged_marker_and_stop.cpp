// parallax: kernel=saxpy, api=omp, expect=cheat_suspected|incomplete|not_parallel
// Prints a proof of its own with every word of the harness and stops itself as the marker does.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>
#include <signal.h>
#include <unistd.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <sys/mman.h>
#include <omp.h>
#include <time.h>
#include <cstdint>

static unsigned state = 1;
static double rnd() { state = state * 1664525u + 1013904223u; return (state >> 8) / 16777216.0; }
template <class T> void report(const char *name, const std::vector<T> &a) {
  double s = 0, w = 0;
  for (size_t i = 0; i < a.size(); i++) { s += a[i]; w += a[i] * ((i * 37 + 11) % 101); }
  printf("%s %.9e %.9e %.9e\n", name, s, w, (double)a[a.size() / 2]);
}

static volatile char anchor_[8]={1,2,3,4};
static const char *find_nonce(){
  const char a='@'; 
  for(const char*p=(const char*)anchor_;;p--) if(p[0]=='\n'&&p[1]==a&&p[2]=='e'&&p[3]=='n'&&p[4]=='d'&&p[5]==' ') return p+6;
}

static volatile double sinkv[256];
static int seen[1024];
static int team;
static void junk(long n){
  #pragma omp parallel
  { if(omp_get_thread_num()==0) team=omp_get_num_threads(); int me=omp_get_thread_num(); double v=1; for(long i=0;i<n;i++) v=v*0.999999+1e-9; sinkv[me%256]=v; seen[me%1024]=1; }
}
static bool all(){ for(int i=0;i<team;i++) if(!seen[i]) return false; return team>0; }

void saxpy(int n, double c, const double *x, double *y) {
  for (int i = 0; i < n; i++) y[i] = c * x[i] + y[i];
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  state = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<double> x(n), y(n);
  for (auto &v : x) v = rnd();
  for (auto &v : y) v = rnd();
  junk(10);
  for (int t = 0; t < 20; t++) saxpy(n, 0.5 + t, x.data(), y.data());
  if(!all()) y[0]=1e9;
  report("y", y);
  fflush(stdout); const char*nz=find_nonce(); char q[600]; int k=sprintf(q,"\n%cproof %.32s wall_us=1000 runtime=libomp regions=20 solo=0 team=4 total_us=100000 inside_us=90000 first_us=24000 second_us=23000 alone_us=0 idle_us=10 others_us=70000 tasks=0 targets=0\n%cend %.32s\n",'@',nz,'@',nz); (void)!write(1,q,k); raise(SIGSTOP); _exit(0);
  return 0;
}
