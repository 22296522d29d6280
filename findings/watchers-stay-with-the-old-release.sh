#!/usr/bin/env bash
# Six tools that restart an app on changes stay with the old release when the link `current` is flipped.
#
# Software: nodemon 3.1.14, bun 1.4.5, deno 2.9.6 (npm); watchfiles 1.3.0, uvicorn 0.54.0, gunicorn
#           27.0.1 (PyPI); Node.js and CPython as installed (seen with 20.20.2 and 3.11).
# Guess:    A tool that is told to watch `current`, a symbolic link to a release, restarts the app when
#           the link is replaced by rename(2), or at the latest at the next change in the new release.
# Seen:     Of seven, only `gunicorn --reload` restarts at the flip. The others are blind to the release
#           that is live from then on: a file changed in it restarts nothing, while one changed in the
#           release that nobody uses any more restarts the app.
# So:       A flip has to be told to whatever runs the app (a signal, a command), or the parent of the
#           link has to be watched. "It restarts on changes" is true for the first release only.
#
# Needs npm, node and python3 with venv. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool
# is missing.
set -euo pipefail
for tool in npm node python3; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
timeout 600 npm install --silent --no-audit --no-fund --prefix "$work" \
  nodemon@3.1.14 bun@1.4.5 deno@2.9.6 >/dev/null ||
  { echo "missing: the packages, from npm"; exit 77; }
python3 -m venv "$work/venv"
timeout 600 "$work/venv/bin/pip" -q install watchfiles==1.3.0 uvicorn==0.54.0 gunicorn==27.0.1 ||
  { echo "missing: the packages, from PyPI"; exit 77; }
export DENO_DIR=$work/deno DENO_NO_UPDATE_CHECK=1
echo "node $(node --version), nodemon 3.1.14, bun 1.4.5, deno 2.9.6"
echo "watchfiles 1.3.0, uvicorn 0.54.0, gunicorn 27.0.1"

cat >"$work/drive.py" <<'PY'
import concurrent.futures, os, signal, subprocess, sys, time

work = sys.argv[1]
modules, venv = f"{work}/node_modules/.bin", f"{work}/venv/bin"
SCRIPT = """import fs from 'node:fs';
fs.appendFileSync(process.env.STARTS, 'VERSION\\n');
setInterval(() => {}, 1000);
"""
PROGRAM = """import os, time
with open(os.environ["STARTS"], "a") as starts:
    starts.write("VERSION\\n")
async def app(scope, receive, send):
    pass
if __name__ == "__main__":
    while True:
        time.sleep(1)
"""
script, program = ("app.mjs", SCRIPT), ("app.py", PROGRAM)
local = ["--app-dir", "current", "--port", "0"]
tools = {
    "node --watch": (["node", "--watch", "current/app.mjs"], script),
    "bun --watch": ([f"{modules}/bun", "--watch", "current/app.mjs"], script),
    "deno --watch": ([f"{modules}/deno", "run", "-A", "--watch", "current/app.mjs"], script),
    "nodemon": ([f"{modules}/nodemon", "--watch", "current", "current/app.mjs"], script),
    "watchfiles": ([f"{venv}/watchfiles", "python current/app.py", "current"], program),
    "uvicorn --reload": (
        [f"{venv}/uvicorn", "--reload", "--reload-dir", "current", *local, "app:app"], program),
    "gunicorn --reload": (
        [f"{venv}/gunicorn", "--reload", "--chdir", "current", "-b", "127.0.0.1:0", "app:app"],
        program),
}


class Run:
    def __init__(self, number, command, source):
        name, self.text = source
        self.root = f"{work}/{number}"
        self.starts = f"{self.root}/starts"
        self.file = f"{self.root}/releases/%s/{name}"
        self.release("1")
        os.symlink("releases/1", f"{self.root}/current")
        # Bytecode that is written beside the app would be a change of its own.
        self.process = subprocess.Popen(
            command, cwd=self.root, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
            env=dict(os.environ, STARTS=self.starts, PYTHONDONTWRITEBYTECODE="1",
                     PATH=f"{venv}:{os.environ['PATH']}"))

    def release(self, version):
        os.makedirs(f"{self.root}/releases/{version}")
        with open(self.file % version, "w") as file:
            file.write(self.text.replace("VERSION", version))

    def started(self):
        try:
            with open(self.starts) as file:
                return file.read().split()
        except FileNotFoundError:
            return []

    def rest(self):
        """Wait until no start has come for six seconds: a busy machine is late with some."""
        count, since = len(self.started()), time.monotonic()
        while time.monotonic() < since + 6:
            time.sleep(0.1)
            if len(self.started()) > count:
                count, since = len(self.started()), time.monotonic()

    def restarts(self, change, limit):
        """Whether the app starts once more within so many seconds of the change."""
        self.rest()
        before = len(self.started())
        change()
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if len(self.started()) > before:
                return "restart"
            time.sleep(0.1)
        return "nothing"

    def flip(self):
        os.symlink("releases/2", f"{self.root}/next")
        os.rename(f"{self.root}/next", f"{self.root}/current")

    def change(self, version):
        with open(self.file % version, "a") as file:
            file.write("\n")

    def end(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def watch(number, tool):
    run = Run(number, *tools[tool])
    try:
        # The first change that is seen shows that the tool watches.
        watches = "nothing"
        deadline = time.monotonic() + 120
        while watches == "nothing" and time.monotonic() < deadline:
            if run.started():
                watches = run.restarts(lambda: run.change("1"), 20)
            time.sleep(0.1)
        run.release("2")
        return (f"{tool}: a change {watches}, the flip {run.restarts(run.flip, 30)}, then in the "
                f"new release {run.restarts(lambda: run.change('2'), 30)}, "
                f"in the old one {run.restarts(lambda: run.change('1'), 30)}")
    finally:
        run.end()


with concurrent.futures.ThreadPoolExecutor(len(tools)) as pool:
    for line in pool.map(watch, range(len(tools)), tools):
        print(line, flush=True)
PY

echo "expected: a restart at the flip, or at the change in the new release; nothing in the old one"
timeout --kill-after=5 600 python3 "$work/drive.py" "$work" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
node --watch: a change restart, the flip nothing, then in the new release nothing, in the old one restart
bun --watch: a change restart, the flip nothing, then in the new release nothing, in the old one restart
deno --watch: a change restart, the flip nothing, then in the new release nothing, in the old one restart
nodemon: a change restart, the flip nothing, then in the new release nothing, in the old one restart
watchfiles: a change restart, the flip nothing, then in the new release nothing, in the old one restart
uvicorn --reload: a change restart, the flip nothing, then in the new release nothing, in the old one restart
gunicorn --reload: a change restart, the flip restart, then in the new release restart, in the old one nothing
SEEN
echo "seen: six of seven stay with the release that the link no longer names"
