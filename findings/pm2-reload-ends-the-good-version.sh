#!/usr/bin/env bash
# pm2 reload with wait_ready ends the good version for one that never says that it is ready.
#
# Software: pm2 7.0.4 (npm); Node.js as installed (seen with 20.20.2).
# Guess:    With `wait_ready: true` pm2 waits for process.send('ready') before it ends the old
#           process. If the word does not come within listen_timeout, the reload fails and the old
#           process goes on.
# Seen:     After listen_timeout the old process is ended all the same. `pm2 reload` prints a check
#           mark and exits with 0, `pm2 jlist` says online, and nobody listens on the port.
# So:       wait_ready only delays the change. A deploy script that trusts the exit status reports a
#           success while every connection is refused; ask the port itself, and keep the old files.
#
# Needs node, npm and curl. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool is missing.
set -euo pipefail
for tool in node npm curl; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
work=$(mktemp -d)
export PM2_HOME=$work/home
pm2=$work/node_modules/.bin/pm2
cleanup() {
  [ ! -x "$pm2" ] || timeout --kill-after=5 60 "$pm2" kill >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT
timeout 600 npm install --prefix "$work" --silent --no-audit --no-fund pm2@7.0.4 ||
  { echo "missing: the packages, from npm"; exit 77; }
echo "pm2 $(node -p "require('$work/node_modules/pm2/package.json').version"), node $(node --version)"

cat >"$work/app.js" <<'JS'
if (process.env.VERSION === '1') {
  require('http').createServer((request, response) => response.end('version 1'))
    .listen(process.env.PORT, '127.0.0.1', () => process.send('ready'));
} else {
  setInterval(() => {}, 1000); // It waits for a database, say, and never listens.
}
JS
cat >"$work/apps.json" <<JSON
{"apps": [{"name": "web", "script": "$work/app.js", "exec_mode": "cluster", "instances": 1,
           "wait_ready": true, "listen_timeout": 3000}]}
JSON
PORT=$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => {
  console.log(s.address().port); s.close(); })')
export PORT

ask() { curl --silent --max-time 30 "http://127.0.0.1:$PORT/" || echo "curl exits with $?"; }
status() {
  timeout 120 "$pm2" jlist 2>/dev/null |
    node -p 'JSON.parse(require("fs").readFileSync(0, "utf8").match(/\[\{.*\}\]/s)[0])[0].pm2_env.status'
}

echo "expected: the reload fails, and version 1 answers"
VERSION=1 timeout 300 "$pm2" start "$work/apps.json" >/dev/null 2>&1
{
  echo "before: $(ask)"
  if VERSION=2 timeout 300 "$pm2" reload "$work/apps.json" --update-env >/dev/null 2>&1; then
    echo "reload: exit status 0"
  else
    echo "reload: exit status $?"
  fi
  echo "after: $(ask); pm2 says $(status)"
} | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
before: version 1
reload: exit status 0
after: curl exits with 7; pm2 says online
SEEN
echo "seen: the reload succeeds, and nobody listens any more"
