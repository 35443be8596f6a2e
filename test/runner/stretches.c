/*
 * Notes the longest stretch of a process that has this in LD_PRELOAD, in nanoseconds, in the first eight bytes of the file that
 * STRETCHES names: what CPU its first thread has used from one look for what has come to the next. Meanwhile nobody is heard.
 * The runtime has one such thread for all Workers and objects. Whoever writes zeros there begins anew.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static uint64_t *longest;

static void open_file(void) {
  const char *path = getenv("STRETCHES");
  int file = path ? open(path, O_RDWR) : -1;
  if (file < 0) return;
  void *at = mmap(NULL, sizeof *longest, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (at != MAP_FAILED) longest = at;
  close(file);
}

static uint64_t used(void) {
  struct timespec at;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
  return (uint64_t)at.tv_sec * 1000000000 + (uint64_t)at.tv_nsec;
}

int epoll_wait(int file, struct epoll_event *events, int most, int milliseconds) {
  static int (*real)(int, struct epoll_event *, int, int);
  static uint64_t begun;
  if (!real) {
    real = (int (*)(int, struct epoll_event *, int, int))dlsym(RTLD_NEXT, "epoll_wait");
    open_file();
  }
  if (!longest || syscall(SYS_gettid) != getpid()) return real(file, events, most, milliseconds);
  uint64_t stretch = begun ? used() - begun : 0;
  if (stretch > *longest) *longest = stretch;
  int came = real(file, events, most, milliseconds);
  begun = used();
  return came;
}
