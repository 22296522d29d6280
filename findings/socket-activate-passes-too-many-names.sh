#!/usr/bin/env bash
# systemd-socket-activate passes a LISTEN_FDNAMES that sd_listen_fds_with_names(3) then refuses.
#
# Software: systemd-socket-activate and libsystemd as installed (seen with 252.39-1~deb12u2).
# Guess:    `--fdname=a:b:c` with two sockets is an error, or the surplus name is dropped: tool and
#           library come from the same source, so they agree.
# Seen:     A warning on stderr. The app gets LISTEN_FDS=2 and LISTEN_FDNAMES=a:b:c, and the library
#           call fails with EINVAL, so the app gets no socket at all. A single name is repeated for
#           each socket, and both get it.
# So:       One name too many turns "two sockets" into "no socket", and many apps then bind their
#           own address.
#
# Needs systemd-socket-activate, libsystemd.so.0 and python3. Exit status: 0 seen again, 1 the
# behaviour changed, 77 a tool is missing.
set -euo pipefail
for tool in systemd-socket-activate python3; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
python3 -c 'import ctypes; ctypes.CDLL("libsystemd.so.0")' 2>/dev/null ||
  { echo "missing: libsystemd.so.0"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
systemd-socket-activate --version | head -n 1

cat >"$work/app.py" <<'PY'
import ctypes, errno, os

names = ctypes.POINTER(ctypes.c_char_p)()
library = ctypes.CDLL("libsystemd.so.0")
count = library.sd_listen_fds_with_names(0, ctypes.byref(names))
result = f"{count} sockets" if count >= 0 else errno.errorcode[-count]
variables = " ".join(f"{name}={os.environ[name]}" for name in ("LISTEN_FDS", "LISTEN_FDNAMES"))
print(f"{variables}: {result}")
PY

cat >"$work/drive.py" <<'PY'
import socket, subprocess, sys, time

work = sys.argv[1]
for names in ("a", "a:b", "a:b:c"):
    paths = [f"{work}/{names}.{number}" for number in (1, 2)]
    process = subprocess.Popen(
        ["systemd-socket-activate", "--listen", paths[0], "--listen", paths[1],
         f"--fdname={names}", sys.executable, f"{work}/app.py"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(paths[1])  # The first connection starts the app.
                break
        except OSError:
            time.sleep(0.02)
    told = process.communicate(timeout=120)[0].strip()
    print(f"--fdname={names} -> {told or 'refused to start'}")
PY

echo "expected: a refusal to start, or two sockets, for each"
timeout --kill-after=5 600 python3 "$work/drive.py" "$work" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
--fdname=a -> LISTEN_FDS=2 LISTEN_FDNAMES=a:a: 2 sockets
--fdname=a:b -> LISTEN_FDS=2 LISTEN_FDNAMES=a:b: 2 sockets
--fdname=a:b:c -> LISTEN_FDS=2 LISTEN_FDNAMES=a:b:c: EINVAL
SEEN
echo "seen: the surplus name costs the app both sockets"
