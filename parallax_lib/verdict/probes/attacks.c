// One attack a word, on the promises of the sandbox: what it manages to break it prints.  See verdict/assurance/sandbox_check.py.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>
#define ATTACK(name) if (!strcmp(argv[1], name))
int deep(int n) { volatile char b[65536]; b[0] = n; return deep(n + 1) + b[0]; }
int main(int argc, char **argv) {
  ATTACK("network") {
    struct sockaddr_in a = {AF_INET, htons(argc > 2 ? atoi(argv[2]) : 9)};
    a.sin_addr.s_addr = inet_addr("127.0.0.1");
    if (!connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&a, sizeof a)) puts("tcp");
    a.sin_addr.s_addr = inet_addr("10.255.255.1");
    if (sendto(socket(AF_INET, SOCK_DGRAM, 0), "x", 1, 0, (void *)&a, sizeof a) >= 0) puts("udp");
    struct sockaddr_un u = {AF_UNIX};
    memcpy(u.sun_path, "\0parallax-selfcheck", 19);
    if (!connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&u, sizeof(short) + 19)) puts("abstract socket");
  }
  ATTACK("path_socket") {
    struct sockaddr_un u = {AF_UNIX};
    int two[2];
    strcpy(u.sun_path, argv[2]);
    for (int kind = SOCK_STREAM; kind <= SOCK_SEQPACKET; kind++) {
      int s = socket(AF_UNIX, kind, 0);
      if (!connect(s, (void *)&u, sizeof u)) puts("connected");
      if (sendto(s, "x", 1, 0, (void *)&u, sizeof u) >= 0) puts("sent");
      if (kind == SOCK_DGRAM && !socketpair(AF_UNIX, kind, 0, two) && sendto(two[0], "x", 1, 0, (void *)&u, sizeof u) >= 0) puts("sent by a pair");
    }
  }
  ATTACK("harness") {
    struct rlimit64 low = {1, 1};
    int it = atoi(argv[2]);
    if (!kill(it, 0) || !syscall(SYS_tkill, it, 0) || !syscall(SYS_tgkill, it, it, 0)) puts("a signal");
    if (!syscall(SYS_prlimit64, it, RLIMIT_CORE, &low, 0)) puts("a limit");
    if (!setpriority(PRIO_PROCESS, it, 19)) puts("a priority");
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    if (!sched_setaffinity(it, sizeof first, &first)) puts("an affinity");
  }
  ATTACK("metadata") {
    struct timespec never[2] = {{1, 0}, {1, 0}};
    chmod(argv[2], 0600), utimensat(AT_FDCWD, argv[2], never, 0), truncate(argv[2], 0), setxattr(argv[2], "user.x", "x", 1, 0);
    rename(argv[2], "got"), unlink(argv[2]), link(argv[2], "got");
    int f = open(argv[2], O_RDONLY);
    if (f >= 0) fchmod(f, 0600);
  }
  ATTACK("deep") { for (int i = 0; i < 3000; i++) if (mkdir("d", 0700) || chdir("d")) break; if (mkdir("closed", 0)) puts("no folder"); }
  ATTACK("fill") {
    char name[16], *block = calloc(1, 1 << 20);
    for (int i = 0; i < 600; i++) { sprintf(name, "%d", i); FILE *f = fopen(name, "w"); if (!f || !fwrite(block, 1 << 20, 1, f)) return 3; fclose(f); usleep(500); }
  }
  ATTACK("vsock") { if (socket(40, SOCK_STREAM, 0) >= 0 || socket(38, SOCK_SEQPACKET, 0) >= 0) puts("vsock or alg"); }
  ATTACK("keyctl") { if (syscall(SYS_add_key, "user", "k", "v", 1, -3) >= 0 || errno != EPERM) puts("keyring"); }
  ATTACK("io_uring") { char p[256] = {0}; if (syscall(425, 4, p) >= 0 || errno != EPERM) puts("io_uring"); }
  ATTACK("ptrace") { if (ptrace(PTRACE_TRACEME, 0, 0, 0) == 0) puts("ptrace"); }
  ATTACK("userns") {
    unsigned long how[11] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD};
    if (unshare(CLONE_NEWUSER) == 0) puts("user namespace");
    long child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (child >= 0) { if (child) puts("user namespace by clone"); else _exit(0); }
    child = syscall(SYS_clone3, how, 88);
    if (child >= 0) { if (child) puts("user namespace by clone3"); else _exit(0); }
  }
  ATTACK("mount") {
    if (mount("x", "/tmp", "tmpfs", 0, 0) == 0) puts("mount");
    if (shmget(IPC_PRIVATE, 4096, 0600 | IPC_CREAT) >= 0) puts("shared memory of System V");
    if (msgget(IPC_PRIVATE, 0600 | IPC_CREAT) >= 0) puts("message queue of System V");
    if (semget(IPC_PRIVATE, 1, 0600 | IPC_CREAT) >= 0) puts("semaphores of System V");
  }
  ATTACK("memfd") { if (memfd_create("x", 0) >= 0) puts("memfd"); }
  ATTACK("root") { if (setuid(0) == 0 && getuid() == 0) puts("root"); }
  ATTACK("fork_bomb") for (;;) fork();
  ATTACK("chain") { for (;;) if (fork()) _exit(0); }
  ATTACK("children") {
    for (int i = 0; i < 6; i++) if (!fork()) { char *p = malloc(100 << 20); memset(p, 1, 100 << 20); sleep(20); }
    sleep(20);
  }
  ATTACK("shared_memory") {
    char *p = mmap(0, 900u << 20, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (size_t i = 0; i < 900u << 20; i += 4096) p[i] = 1;
    sleep(20);
  }
  ATTACK("spin") { signal(SIGXCPU, SIG_IGN); for (;;) {} }
  ATTACK("sleep") for (;;) pause();
  ATTACK("flood") for (;;) puts("flooding");
  ATTACK("big_file") { FILE *f = fopen("x", "w"); for (;;) if (fputc(1, f) == EOF) abort(); }
  ATTACK("stack") return deep(0);
  ATTACK("grandchild") {
    if (!fork()) { if (!fork()) { usleep(300000); for (;;) { puts("late"); usleep(1000); } } _exit(0); }
    puts("done");
  }
  ATTACK("daemon") { if (!fork()) { setsid(); if (!fork()) for (;;) pause(); _exit(0); } usleep(400000); }
  ATTACK("kill_all") { signal(SIGTERM, SIG_IGN); kill(getppid(), SIGKILL); kill(-1, SIGTERM); }
  ATTACK("abort") abort();
  return 0;
}
