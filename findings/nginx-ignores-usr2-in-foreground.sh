#!/usr/bin/env bash
# nginx in the foreground ignores SIGUSR2 as long as the process that started it lives.
#
# Software: nginx of Debian (seen with 1.22.1-9+deb12u11), downloaded and unpacked, not installed.
# Guess:    `nginx -g 'daemon off;'` under a supervisor upgrades its binary on SIGUSR2 like a
#           daemonised nginx does: a second master starts with the inherited sockets.
# Seen:     The master logs "ignoring". nginx takes "my parent is still the one that started me" as
#           "I am the new binary and the old master still runs". Under a living supervisor that
#           never changes. Once the parent is gone, the same signal works.
# So:       nginx's own hot upgrade is not available to an nginx that a supervisor keeps in front.
#
# Needs apt-get, dpkg-deb, python3 and the libraries of a usual Debian (libssl3, libpcre2-8-0). Exit
# status: 0 seen again, 1 the behaviour changed, 77 a tool or package is missing.
set -euo pipefail
for tool in apt-get dpkg-deb python3; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fetch() { (cd "$work" && timeout 300 apt-get download "$1" >/dev/null 2>&1); }
fetch nginx=1.22.1-9+deb12u11 || fetch nginx || { echo "missing: Debian's nginx"; exit 77; }
dpkg-deb -x "$work"/nginx_*.deb "$work"
"$work/usr/sbin/nginx" -v 2>&1 || { echo "missing: a library of nginx"; exit 77; }

mkdir "$work/tmp"
cat >"$work/nginx.conf" <<CONF
daemon off;
pid $work/nginx.pid;
error_log $work/error.log notice;
events {}
http {
  access_log off;
  client_body_temp_path $work/tmp/1;
  proxy_temp_path $work/tmp/2;
  fastcgi_temp_path $work/tmp/3;
  uwsgi_temp_path $work/tmp/4;
  scgi_temp_path $work/tmp/5;
  server { listen unix:$work/http.sock; location / { return 200 "served\n"; } }
}
CONF

cat >"$work/drive.py" <<'PY'
"""Start nginx in the foreground, once with a living parent and once with one that exits."""
import os, signal, socket, subprocess, sys, time

work = sys.argv[1]
nginx = [f"{work}/usr/sbin/nginx", "-c", f"{work}/nginx.conf", "-e", f"{work}/error.log"]


def wait_for(what, condition):
    deadline = time.monotonic() + 120
    while not (found := condition()):
        if time.monotonic() > deadline:
            sys.exit(f"timed out waiting for {what}")
        time.sleep(0.02)
    return found


def read(path):
    try:
        with open(path) as file:
            return file.read()
    except FileNotFoundError:
        return ""


def answers():
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{work}/http.sock")
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return client.recv(100)
    except OSError:
        return b""


def upgrade_outcome():
    """Wait until the master has logged what it does about SIGUSR2."""
    def told():
        log = read(f"{work}/error.log")
        if "SIGUSR2) received" in log and "ignoring" in log:
            return "ignored"
        return "a second master starts" if "start new binary process" in log else None
    return wait_for("an answer to SIGUSR2", told)


def stop(pids):
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def try_upgrade(parent_lives):
    if os.path.exists(f"{work}/error.log"):
        os.unlink(f"{work}/error.log")
    starter = subprocess.Popen(
        [sys.executable, "-c", "import subprocess, sys; p = subprocess.Popen(sys.argv[2:]); "
         "sys.argv[1] == 'lives' and p.wait()", "lives" if parent_lives else "exits", *nginx],
        start_new_session=True)
    group = starter.pid
    try:
        if not parent_lives:
            starter.wait(120)
        master = int(wait_for("the pid file", lambda: read(f"{work}/nginx.pid")))
        wait_for("an answer", answers)
        os.kill(master, signal.SIGUSR2)
        return upgrade_outcome()
    finally:
        os.killpg(group, signal.SIGKILL)
        starter.wait()
        for name in os.listdir(work):
            if name.endswith(".sock") or name.startswith("nginx.pid"):
                os.unlink(f"{work}/{name}")


for parent_lives in (True, False):
    print(f"parent {'lives' if parent_lives else 'has exited'}: {try_upgrade(parent_lives)}")
PY

echo "expected: a second master starts, whether the parent lives or not"
timeout --kill-after=5 600 python3 "$work/drive.py" "$work" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
parent lives: ignored
parent has exited: a second master starts
SEEN
echo "seen: SIGUSR2 is ignored under a living parent"
