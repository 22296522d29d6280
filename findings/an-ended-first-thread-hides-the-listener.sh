#!/usr/bin/env bash
# A process whose first thread has ended serves on, while nothing shows that it has the port.
#
# Software: the Linux kernel (seen with 6.18); ss, lsof and fuser as installed (seen with iproute2 6.1,
#           lsof 4.95 and psmisc 23.6).
# Guess:    POSIX lets main() end by pthread_exit() while other threads go on. The process lives, so
#           /proc/PID/fd lists what it has open, `ss -p` names it behind its port, and pidfd_getfd(2)
#           copies its listener.
# Seen:     Clients are served as before. But /proc/PID/fd is empty, /proc/PID/exe, cwd and environ are
#           gone, the process is a zombie to ps, and pidfd_getfd fails with ESRCH. ss, lsof and fuser
#           find nobody behind the port. Only /proc/PID/task/TID/fd of a living thread shows the socket,
#           and a pidfd of that thread (PIDFD_THREAD, Linux 6.9) gives it away.
# So:       "The port is busy and nobody has it" need not be another namespace or a missing privilege.
#           A supervisor that takes a socket back from an orphan, or counts the zombies of a process
#           group as dead, has to look at the threads.
#
# Needs gcc, python3 (3.9), ss, lsof and fuser. Exit status: 0 seen again, 1 the behaviour changed, 77 a
# tool is missing.
set -euo pipefail
for tool in gcc python3 ss lsof fuser; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "Linux $(uname -r); $(ss --version)"

cat >"$work/app.c" <<'C'
/* Serves in a second thread; with an argument the first one ends. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static int listener;

static void *serve(void *unused) {
  for (int client; (client = accept(listener, NULL, NULL)) >= 0; close(client))
    if (write(client, "served", 6) != 6)
      break;
  return unused;
}

int main(int count, char **words) {
  pthread_t thread;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  listener = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 64) ||
      getsockname(listener, (struct sockaddr *)&address, &length) ||
      pthread_create(&thread, NULL, serve, NULL))
    return 1;
  printf("%d %d\n", ntohs(address.sin_port), listener);
  fflush(stdout);
  if (count > 1)
    pthread_exit(NULL);
  pthread_join(thread, NULL);
  return 0;
}
C
gcc -O1 -pthread -o "$work/app" "$work/app.c"

cat >"$work/drive.py" <<'PY'
import ctypes, os, socket, subprocess, sys, time

PIDFD_GETFD, PIDFD_OPEN, PIDFD_THREAD = 438, 434, os.O_EXCL
libc = ctypes.CDLL(None, use_errno=True)


def sockets(directory):
    try:
        names = [os.readlink(f"{directory}/{fd}") for fd in os.listdir(directory)]
    except OSError as error:
        return error.strerror
    return "has a socket" if any(name.startswith("socket:") for name in names) else "has none"


def copies(pid, fd, flags):
    """Whether the fd of the process, or of that thread, can be had."""
    pidfd = libc.syscall(PIDFD_OPEN, pid, flags)
    if pidfd < 0:
        return "not here"
    copy = libc.syscall(PIDFD_GETFD, pidfd, fd, 0)
    return "a copy" if copy >= 0 else os.strerror(ctypes.get_errno())


def names(pid, command):
    said = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    return "names it" if str(pid) in said else "names nobody"


def look(app, how):
    port, fd = map(int, app.stdout.readline().split())
    time.sleep(1)
    with socket.create_connection(("127.0.0.1", port), timeout=120) as client:
        answer = client.recv(100).decode()
    pid = app.pid
    thread = next(tid for tid in map(int, os.listdir(f"/proc/{pid}/task")) if tid != pid)
    with open(f"/proc/{pid}/stat") as stat:
        state = stat.read().rpartition(")")[2].split()[0]
    print(f"{how}: client {answer}; state {'zombie' if state == 'Z' else 'alive'}; "
          f"exited {app.poll() is not None}")
    print(f"{how}: /proc/PID/fd {sockets(f'/proc/{pid}/fd')}; "
          f"of a thread {sockets(f'/proc/{pid}/task/{thread}/fd')}")
    print(f"{how}: ss {names(pid, ['ss', '-Hltnp', f'sport = {port}'])}; "
          f"lsof {names(pid, ['lsof', '-nP', '-t', '-sTCP:LISTEN', f'-iTCP:{port}'])}; "
          f"fuser {names(pid, ['fuser', f'{port}/tcp'])}")
    print(f"{how}: pidfd_getfd {copies(pid, fd, 0)}; by a thread {copies(thread, fd, PIDFD_THREAD)}")


for how, words in (("lives", []), ("ended", ["end"])):
    app = subprocess.Popen([f"{sys.argv[1]}/app", *words], stdout=subprocess.PIPE, text=True)
    try:
        look(app, how)
    finally:
        app.kill()
        app.wait()
PY

echo "expected: the same, whether the first thread lives or has ended"
timeout --kill-after=5 600 python3 "$work/drive.py" "$work" | tee "$work/seen"
sed -i 's/; by a thread .*//' "$work/seen" # Linux 6.9 and newer.
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
lives: client served; state alive; exited False
lives: /proc/PID/fd has a socket; of a thread has a socket
lives: ss names it; lsof names it; fuser names it
lives: pidfd_getfd a copy
ended: client served; state zombie; exited False
ended: /proc/PID/fd has none; of a thread has a socket
ended: ss names nobody; lsof names nobody; fuser names nobody
ended: pidfd_getfd No such process
SEEN
echo "seen: the listener serves, and nobody has it"
