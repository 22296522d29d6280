#!/usr/bin/env bash
# Node makes an inherited stdout pipe non-blocking for everybody, and leaves it so when killed.
#
# Software: Node.js as installed (seen with 20.20.2); bun 1.4.5 and deno 2.9.6 (npm) beside it.
# Guess:    Node writes to pipes synchronously on Linux, so it has no need of O_NONBLOCK there. The
#           flag belongs to the shared open file description, and a runtime does not set it on a
#           stdout that others write to as well.
# Seen:     After its first console.log the pipe is non-blocking for each holder. Node puts the flag
#           back at a normal exit and at SIGTERM, but after SIGKILL it stays. A Python process that
#           prints to the same pipe while it is full then loses lines: it exits with 0, without a
#           word on stderr. Bun and Deno leave the flag alone.
# So:       A supervisor and the generations of an app often share one log pipe. A Node generation
#           makes the others lose log lines when the reader is slow, and a killed one does so for
#           good.
#
# Needs node, npm and python3. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool is
# missing.
set -euo pipefail
for tool in node npm python3; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
timeout 600 npm install --silent --no-audit --no-fund --prefix "$work" \
  bun@1.4.5 deno@2.9.6 >/dev/null ||
  { echo "missing: the packages, from npm"; exit 77; }
export DENO_DIR=$work/deno DENO_NO_UPDATE_CHECK=1
echo "node $(node --version), bun 1.4.5, deno 2.9.6"

cat >"$work/app.mjs" <<'JS'
console.log('started');
setInterval(() => console.log('still here'), 100);
JS

cat >"$work/drive.py" <<'PY'
import fcntl, os, signal, subprocess, sys

work = sys.argv[1]
modules = f"{work}/node_modules/.bin"


def flag(write_end):
    return "blocking" if os.get_blocking(write_end) else "non-blocking"


def run(name, command):
    """Let the app write to the pipe, then end it in two ways; return the last pipe."""
    told = []
    for way in (signal.SIGTERM, signal.SIGKILL):
        read_end, write_end = os.pipe()
        app = subprocess.Popen(command, stdout=write_end, stdin=subprocess.DEVNULL)
        try:
            received = b""
            while b"still here" not in received:
                received += os.read(read_end, 4096)
            told.append(f"while it runs {flag(write_end)}")
        finally:
            app.send_signal(way)
            app.wait(120)
        told.append(f"after {way.name} {flag(write_end)}")
    print(f"{name}: {', '.join(dict.fromkeys(told))}", flush=True)
    return write_end


def sibling_prints(write_end):
    """A Python process prints 64 KiB more than the pipe holds; nobody reads meanwhile."""
    lines = (fcntl.fcntl(write_end, fcntl.F_GETPIPE_SZ) + 65536) // len("a line\n")
    sibling = subprocess.run([sys.executable, "-c", f"for _ in range({lines}): print('a line')"],
                             stdout=write_end, stderr=subprocess.PIPE, text=True, timeout=120)
    return f"exit status {sibling.returncode}, stderr {sibling.stderr.strip() or 'empty'}"


run("bun", [f"{modules}/bun", f"{work}/app.mjs"])
run("deno", [f"{modules}/deno", "run", "--quiet", f"{work}/app.mjs"])
left = run("node", ["node", f"{work}/app.mjs"])
if not os.get_blocking(left):
    print("Python prints more than the killed node's pipe can take:", sibling_prints(left))
PY

echo "expected: blocking throughout"
timeout --kill-after=5 600 python3 "$work/drive.py" "$work" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
bun: while it runs blocking, after SIGTERM blocking, after SIGKILL blocking
deno: while it runs blocking, after SIGTERM blocking, after SIGKILL blocking
node: while it runs non-blocking, after SIGTERM blocking, after SIGKILL non-blocking
Python prints more than the killed node's pipe can take: exit status 0, stderr empty
SEEN
echo "seen: Node changes the pipe of the others, and SIGKILL leaves it changed"
