#!/usr/bin/env bash
# Two of four runners that load an env file do not let the server finish: one leaves it, one kills it.
#
# Software: cross-env 10.1.0, dotenv-cli 11.0.0, env-cmd 11.0.0, @dotenvx/dotenvx 2.38.2 (npm);
#           Node.js as installed (seen with 20.20.2).
# Guess:    `RUNNER server` sets variables and is then nothing but a parent: at SIGTERM it passes the
#           signal on, waits for the server, and exits as the server did. They are interchangeable.
# Seen:     cross-env and dotenv-cli do. env-cmd passes the signal on and dies of it at once, so that
#           nobody waits for the server that drains. dotenvx passes it on, kills the server some 6 s
#           after the SIGTERM, and exits with 1.
# So:       Under env-cmd a supervisor takes the service for stopped and ends or forgets what drains;
#           in a container it is PID 1 that has gone. Under dotenvx no drain lasts longer than 6 s,
#           whatever TimeoutStopSec= of the unit says.
#
# Needs node and npm. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool is missing.
set -euo pipefail
for tool in node npm; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo '{"private": true}' >"$work/package.json"
timeout 600 npm install --prefix "$work" --silent --no-audit --no-fund \
  cross-env@10.1.0 dotenv-cli@11.0.0 env-cmd@11.0.0 @dotenvx/dotenvx@2.38.2 ||
  { echo "missing: the packages, from npm"; exit 77; }
echo "node $(node --version)"
cd "$work"
echo 'GREETING=hello' >.env

# A server that needs 20 s to finish after SIGTERM. It notes what happens to it in its own file.
cat >server.js <<'JS'
const { appendFileSync } = require('node:fs');
const DRAIN_MS = 20000;
const note = (word) => appendFileSync(process.env.NOTES, word + '\n');

process.once('SIGTERM', () => {
  note('told');
  setTimeout(() => { note('drained'); process.exit(0); }, DRAIN_MS);
});
setInterval(() => {}, 1000);
note(process.pid);
JS

cat >drive.js <<'JS'
const { spawn } = require('node:child_process');
const { existsSync, readFileSync } = require('node:fs');

const RUNNERS = {
  'cross-env': ['cross-env', 'GREETING=hello'],
  'dotenv-cli': ['dotenv', '--'],
  'env-cmd': ['env-cmd'],
  dotenvx: ['dotenvx', 'run', '--'],
};
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function alive(pid) {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

async function play(name, [program, ...args]) {
  const NOTES = `${__dirname}/${name}.notes`;
  const notes = () => (existsSync(NOTES) ? readFileSync(NOTES, 'utf8').split('\n').slice(0, -1) : []);
  const runner = spawn(`node_modules/.bin/${program}`, [...args, process.execPath, 'server.js'],
    { stdio: 'ignore', env: { ...process.env, NOTES } });
  const exit = new Promise((resolve) => runner.once('exit', (code, signal) => resolve(signal ?? code)));
  while (notes().length < 1) await pause(50);
  const pid = Number(notes()[0]);
  runner.kill('SIGTERM');
  const status = await exit;
  const left = alive(pid) ? 'while the server drains' : 'after the server';
  while (alive(pid)) await pause(50);
  const end = notes().includes('drained') ? 'finishes' : 'is killed before it has finished';
  console.log(`${name}: exits with ${status} ${left}, which ${end}`);
}

async function main() {
  for (const [name, command] of Object.entries(RUNNERS)) await play(name, command);
}

main();
JS

echo "expected: each exits with 0 after the server, which finishes"
timeout --kill-after=5 600 node drive.js | tee seen
diff - seen <<'SEEN' || { echo "CHANGED"; exit 1; }
cross-env: exits with 0 after the server, which finishes
dotenv-cli: exits with 0 after the server, which finishes
env-cmd: exits with SIGTERM while the server drains, which finishes
dotenvx: exits with 1 after the server, which is killed before it has finished
SEEN
echo "seen: env-cmd does not wait, and dotenvx waits for 6 s"
