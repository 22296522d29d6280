#!/usr/bin/env bash
# nginx removes the path of an inherited Unix socket, but only if its parent has died.
#
# Software: nginx of Debian (seen with 1.22.1-9+deb12u11), downloaded and unpacked, not installed.
# Guess:    nginx got its Unix listener through NGINX=, so it did not create the path and leaves it
#           alone when it stops. That is what one sees in every test with a supervisor.
# Seen:     nginx spares the path while the process that started it lives. If that process has died,
#           the same nginx unlinks the path on SIGQUIT: it takes itself for the upgraded master.
# So:       After a supervisor was killed and its successor has adopted nginx, the next reload makes
#           the service unreachable: the old nginx stops, and takes the path of the new one along.
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
error_log $work/error.log;
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

cat >"$work/starter.py" <<'PY'
"""Be the parent of nginx: hand it the socket, print its pid, exit when stdin closes."""
import os, socket, subprocess, sys

work = sys.argv[1]
listener = socket.socket(socket.AF_UNIX)
listener.bind(f"{work}/http.sock")
listener.listen()
os.dup2(listener.fileno(), 3)
nginx = subprocess.Popen(
    [f"{work}/usr/sbin/nginx", "-c", f"{work}/nginx.conf", "-e", f"{work}/error.log"],
    pass_fds=(3,), env=os.environ | {"NGINX": "3;"},
    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
print(nginx.pid, flush=True)
sys.stdin.read()
PY

cat >"$work/drive.py" <<'PY'
import os, select, signal, socket, subprocess, sys

work = sys.argv[1]
path = f"{work}/http.sock"


def request():
    """The listener is bound before nginx starts, so the request waits until it is served."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(120)
        client.connect(path)
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return client.makefile("rb").read()


def path_after_quit(parent_lives):
    starter = subprocess.Popen(
        [sys.executable, f"{work}/starter.py", work],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    nginx = int(starter.stdout.readline())
    pidfd = os.pidfd_open(nginx)
    try:
        assert request().endswith(b"served\n")
        if not parent_lives:
            starter.stdin.close()
            starter.wait(120)
        signal.pidfd_send_signal(pidfd, signal.SIGQUIT)
        if not select.select([pidfd], [], [], 120)[0]:
            sys.exit("nginx did not stop")
        return "kept" if os.path.exists(path) else "removed"
    finally:
        if not select.select([pidfd], [], [], 0)[0]:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)
        starter.kill()
        starter.wait()
        if os.path.exists(path):
            os.unlink(path)


for parent_lives in (True, False):
    print(f"parent {'lives' if parent_lives else 'has died'}: {path_after_quit(parent_lives)}")
PY

echo "expected: kept, in both cases"
timeout --kill-after=5 600 python3 "$work/drive.py" "$work" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
parent lives: kept
parent has died: removed
SEEN
echo "seen: an orphaned nginx removes a path that it did not create"
