#!/usr/bin/env bash
# A listener that was closed goes on accepting if an io_uring accept was under way.
#
# Software: the Linux kernel (seen with 6.18; multishot accept exists since 5.19).
# Guess:    A server stops accepting by closing its listener, while others (a supervisor, the next
#           version) have the socket as well. A thread that is blocked in accept(2) may take one more
#           client (known). An event loop takes none.
# Seen:     A request of the ring holds the socket, not the fd. So a single accept takes one more client,
#           and a multishot accept takes all that come: the old version competes with the new one until
#           its ring ends. Where nobody else has the socket the port stays open without any fd, and
#           neither lsof nor `ss -p` names a process; where the guess is right clients are refused.
# So:       A server on io_uring must cancel its accept (IORING_ASYNC_CANCEL, and wait for it) before it
#           closes the listener. Clients that it took after close() get no answer.
#
# Needs gcc, the kernel's headers and io_uring. Exit status: 0 seen again, 1 the behaviour changed, 77 a
# tool or io_uring is missing.
set -euo pipefail
command -v gcc >/dev/null || { echo "missing: gcc"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "Linux $(uname -r)"

cat >"$work/late.c" <<'C'
/* Closes its listener, and counts the clients that it accepts all the same.
 * usage: late epoll|thread|ring|multishot [alone] */
#include <arpa/inet.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CLIENTS = 20, ENTRIES = 64 };

static int listener;
static atomic_int accepted;

static struct {
  unsigned *head, *mask;
  _Atomic unsigned *tail;
  struct io_uring_cqe *entries;
} done;

static void *block(void *unused) {
  while (accept(listener, NULL, NULL) >= 0)
    accepted++;
  return unused;
}

static void *map(int ring, size_t size, off_t what) {
  return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, what);
}

static int submit_accept(unsigned short flags) {
  struct io_uring_params p = {0};
  int ring = (int)syscall(SYS_io_uring_setup, ENTRIES, &p);
  if (ring < 0)
    return -1;
  char *sq = map(ring, p.sq_off.array + p.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
  char *cq = map(ring, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING);
  struct io_uring_sqe *sqe =
      map(ring, p.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
  done.head = (unsigned *)(cq + p.cq_off.head);
  done.tail = (_Atomic unsigned *)(cq + p.cq_off.tail);
  done.mask = (unsigned *)(cq + p.cq_off.ring_mask);
  done.entries = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
  sqe->opcode = IORING_OP_ACCEPT;
  sqe->fd = listener;
  sqe->ioprio = flags;
  atomic_store((_Atomic unsigned *)(sq + p.sq_off.tail), 1);
  return syscall(SYS_io_uring_enter, ring, 1, 0, 0, NULL, 0) == 1 ? 0 : -1;
}

int main(int count, char **words) {
  const char *way = words[1];
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  listener = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 64) ||
      getsockname(listener, (struct sockaddr *)&address, &length))
    return 1;
  if (count == 2)
    dup(listener); /* Somebody else has the socket as well. */

  int epoll = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN};
  pthread_t thread;
  if (!strcmp(way, "epoll"))
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
  else if (!strcmp(way, "thread"))
    pthread_create(&thread, NULL, block, NULL);
  else if (submit_accept(!strcmp(way, "multishot") ? IORING_ACCEPT_MULTISHOT : 0))
    return 77;
  sleep(1);
  close(listener);
  sleep(1);

  int connected = 0;
  for (int client = 0; client < CLIENTS; client++)
    connected += !connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&address, length);
  sleep(1);
  if (epoll_wait(epoll, &event, 1, 0) > 0 && accept(listener, NULL, NULL) >= 0)
    accepted++;
  if (done.tail)
    for (unsigned at = *done.head; at != atomic_load(done.tail); at++)
      accepted += done.entries[at & *done.mask].res >= 0;
  printf("%d of %d connect, and the closed listener accepts %d\n", connected, CLIENTS, (int)accepted);
  fflush(stdout);
  _exit(0);
}
C
gcc -O1 -pthread -w -o "$work/late" "$work/late.c" || { echo "missing: the kernel's headers"; exit 77; }

echo "expected: 0 for the rings, as for epoll; alone, no client connects"
for how in epoll thread ring multishot 'epoll alone' 'ring alone' 'multishot alone'; do
  status=0
  # shellcheck disable=SC2086
  said=$(timeout 60 "$work/late" $how) || status=$?
  [ "$status" -ne 77 ] || { echo "missing: io_uring"; exit 77; }
  echo "$how: $said"
done | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
epoll: 20 of 20 connect, and the closed listener accepts 0
thread: 20 of 20 connect, and the closed listener accepts 1
ring: 20 of 20 connect, and the closed listener accepts 1
multishot: 20 of 20 connect, and the closed listener accepts 20
epoll alone: 0 of 20 connect, and the closed listener accepts 0
ring alone: 1 of 20 connect, and the closed listener accepts 1
multishot alone: 20 of 20 connect, and the closed listener accepts 20
SEEN
echo "seen: close() does not end an accept that io_uring has under way"
