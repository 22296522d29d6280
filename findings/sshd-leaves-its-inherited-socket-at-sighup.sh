#!/usr/bin/env bash
# A socket-activated sshd closes its socket at SIGHUP, and opens the port of its configuration instead.
#
# Software: openssh-server of Debian (seen with 9.2p1-2+deb12u10), downloaded and unpacked, not
#           installed; systemd-socket-activate as installed (seen with 252).
# Guess:    Debian's sshd takes the listener from LISTEN_FDS. SIGHUP (`systemctl reload ssh`) makes it
#           read its configuration again and execute itself, and it serves on, as without activation.
# Seen:     Before it executes itself it closes its listeners, the inherited one too. Its new self has
#           the same pid and environment, so LISTEN_FDS is meant for it, but fd 3 is closed. It says
#           nothing, binds the Port of its configuration, and ends each connection there without a
#           banner. Without activation SIGHUP does what the guess says.
# So:       A reload leaves the socket without a server: clients are refused, or wait in the queue of
#           whoever else has it, while another port (22, if nothing is configured) is open that was not.
#           Start a second sshd on the socket and stop the first one instead; sessions go on.
#
# Needs apt-get, dpkg-deb, systemd-socket-activate, ssh-keygen, python3 and the libraries of a usual
# Debian; as root also setpriv. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool or package
# is missing.
set -euo pipefail
for tool in apt-get dpkg-deb systemd-socket-activate ssh-keygen python3; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fetch() { (cd "$work" && timeout 300 apt-get download "$1" >/dev/null 2>&1); }
fetch openssh-server=1:9.2p1-2+deb12u10 || fetch openssh-server ||
  { echo "missing: Debian's openssh-server"; exit 77; }
dpkg-deb -x "$work"/openssh-server_*.deb "$work"
"$work/usr/sbin/sshd" -V 2>&1 | head -n 1 | grep OpenSSH || { echo "missing: a library of sshd"; exit 77; }
systemd-socket-activate --version | head -n 1
ssh-keygen -q -t ed25519 -N '' -f "$work/key"
as=()
# Without privileges it wants no directory of the system.
if [ "$(id -u)" -eq 0 ]; then
  command -v setpriv >/dev/null || { echo "missing: setpriv"; exit 77; }
  chmod 755 "$work"
  chown 65534 "$work/key"
  as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
fi

cat >"$work/drive.py" <<'PY'
import signal, socket, subprocess, sys, time

work, command = sys.argv[1], sys.argv[2:]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def banner(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=120) as client:
            return "serves" if client.recv(100).startswith(b"SSH-2.0") else "silent"
    except OSError:
        return "refused"


def wait_for_a_listener(ports):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and all(banner(port) == "refused" for port in ports):
        time.sleep(0.2)


inherited, configured = free_port(), free_port()
for is_activated in (False, True):
    with open(f"{work}/config", "w") as file:
        file.write(f"HostKey {work}/key\nUsePAM no\nPidFile none\n"
                   f"ListenAddress 127.0.0.1\nPort {configured}\n")
    sshd_command = [f"{work}/usr/sbin/sshd", "-D", "-e", "-f", f"{work}/config"]
    if is_activated:
        sshd_command = ["systemd-socket-activate", "-l", f"127.0.0.1:{inherited}", *sshd_command]
    sshd = subprocess.Popen([*command, *sshd_command], stderr=subprocess.DEVNULL)
    try:
        at = inherited if is_activated else configured
        wait_for_a_listener([at])
        how = "activated" if is_activated else "by itself"
        print(f"{how}: its socket {banner(at)}", end="; ")
        sshd.send_signal(signal.SIGHUP)
        time.sleep(2)
        wait_for_a_listener([inherited, configured])
        print(f"after SIGHUP: its socket {banner(at)}, the configured port {banner(configured)}",
              flush=True)
    finally:
        sshd.kill()
        sshd.wait()
PY

echo "expected: after SIGHUP its socket serves, in both lines"
timeout --kill-after=5 600 python3 "$work/drive.py" "$work" "${as[@]}" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
by itself: its socket serves; after SIGHUP: its socket serves, the configured port serves
activated: its socket serves; after SIGHUP: its socket refused, the configured port silent
SEEN
echo "seen: after SIGHUP nobody serves the inherited socket"
