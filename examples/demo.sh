#!/bin/sh
# Show Segue in a quarter of a minute: a deploy, a broken one, a crash after the takeover, a killed supervisor, an upgrade.
# A client asks 50 times a second all the while. No root needed; nothing is left behind but the picture.
#
#   examples/demo.sh [--bin DIR] [--picture FILE]
#
# --bin DIR       use segue, segue-poll and app from DIR instead of building them
# --picture FILE  where the picture goes (default: target/demo.svg)
#
# Exits 0 if every step went as announced and no request failed.
set -eu

bin=
picture=
while [ $# -gt 0 ]; do
    case $1 in
        --bin) bin=${2:?--bin needs a directory}; shift 2 ;;
        --picture) picture=${2:?--picture needs a file}; shift 2 ;;
        -h | --help) sed -n 's/^# \{0,1\}//p' "$0" | sed -n '2,/^Exits/p'; exit 0 ;;
        *) echo "demo.sh: unknown argument '$1' (see --help)" >&2; exit 2 ;;
    esac
done
root=$(cd "$(dirname "$0")/.." && pwd)
if [ -z "$bin" ]; then
    # shellcheck source=examples/build.sh
    . "$root/examples/build.sh"
    build_programs "$root"
    picture=${picture:-$target/demo.svg}
    bin=$target/debug
fi
picture=${picture:-demo.svg}

# Everything lives in one directory that goes away at the end.
place=$(mktemp -d "${TMPDIR:-/tmp}/segue-demo.XXXXXX")
log=$place/supervisor.log
polled=$place/polled
supervisor=
poll=

# shellcheck disable=SC2317 # called by the trap
finish() {
    status=$?
    trap '' INT TERM
    [ -z "$poll" ] || kill "$poll" 2>/dev/null || true
    if [ -n "$supervisor" ]; then
        "$place/segue" stop --control "$place/control" --timeout 10s >/dev/null 2>&1 || true
        wait "$supervisor" 2>/dev/null || true
    fi
    rm -rf "$place"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n== %s\n' "$*"; }

fail() {
    printf '\nnot as announced: %s\nthe supervisor said:\n' "$*" >&2
    tail -n 20 "$log" >&2
    exit 1
}

# The command as a person would type it, then what it says. Its status is in $code.
show() {
    printf '$ segue %s\n' "$*"
    code=0
    "$place/segue" "$@" --control "$place/control" 2>&1 || code=$?
}

# Wait until a file has a line with this text, or so many of them. A minute at most, for machines that are busy.
await() {
    tries=0
    until [ "$(grep -c "$2" "$1")" -ge "${3:-1}" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 1200 ] || fail "no line '$2' within a minute"
        sleep 0.05
    done
}

# Put a program in place by rename: never write into a file that may run.
install_app() {
    chmod +x "$place/app.new"
    mv "$place/app.new" "$place/app"
}

start() {
    "$place/segue" run --control "$place/control" --name demo --listen "http=127.0.0.1:$port" --probation 2s \
        --env-file "$place/app.env" -- "$place/app" 2>>"$log" &
    supervisor=$!
}

cp "$bin/segue" "$place/segue"
cp "$bin/app" "$place/app.good"
cp "$bin/app" "$place/app.new" && install_app
echo 'APP_MESSAGE=version one' > "$place/app.env"
: > "$log"

say "1. The app starts under Segue; a client asks it 50 times a second"
port=0
start
await "$log" 'generation 1 serves'
port=$(sed -n 's/.*listening on 127\.0\.0\.1:\([0-9]*\).*/\1/p' "$log" | head -n 1)
"$bin/segue-poll" --quiet --interval 20ms --timeout 30s --picture "$picture" --title 'Segue: six things that happen to a server' \
    "http://127.0.0.1:$port/ping" > "$polled" &
poll=$!
sleep 2

say "2. A good deploy: a new version takes over, the old one finishes what it has accepted"
echo 'APP_MESSAGE=version two' > "$place/app.env"
show reload --settled
[ "$code" -eq 0 ] || fail "the reload"
await "$polled" 'UP AND CHANGED.*version two'
grep 'UP AND CHANGED' "$polled" | tail -n 1
sleep 1

say "3. A broken deploy: it is refused with its reason, and version two serves on"
printf '#!/bin/sh\necho "cannot reach the database" >&2\nexit 3\n' > "$place/app.new" && install_app
show reload
[ "$code" -eq 1 ] || fail "the broken version was not refused"
sleep 1

say "4. A deploy that crashes after its takeover: the last good version comes back"
cat > "$place/app.new" <<TEXT
#!/bin/sh
# Dies when the client has seen it.
(exec 3<&-; until grep -q 'UP AND CHANGED.*version three' '$polled'; do sleep 0.1; done; kill -KILL \$\$) &
exec '$place/app.good'
TEXT
install_app
echo 'APP_MESSAGE=version three' > "$place/app.env"
show reload --settled
[ "$code" -eq 1 ] || fail "the crash was not reported"
await "$polled" 'UP AND CHANGED.*version three'
await "$polled" 'UP AND CHANGED.*version two' 2
cp "$place/app.good" "$place/app.new" && install_app
sleep 1

say "5. The supervisor is killed with SIGKILL: the app serves on, and the next supervisor adopts it"
kill -KILL "$supervisor"
wait "$supervisor" 2>/dev/null || true
echo "$ kill -KILL $supervisor"
sleep 1
start
await "$log" 'its app is adopted'
echo "$ segue run ..."
grep 'its app is adopted' "$log"
sleep 1

say "6. The supervisor is replaced in place: same pid, same listeners, nobody waits"
cp "$bin/segue" "$place/segue.new" && mv "$place/segue.new" "$place/segue"
show upgrade
[ "$code" -eq 0 ] || fail "the upgrade"

say "7. One more good deploy, by the new supervisor"
echo 'APP_MESSAGE=version four' > "$place/app.env"
show reload
[ "$code" -eq 0 ] || fail "the reload"
await "$polled" 'UP AND CHANGED.*version four'
sleep 1

say "The totals"
kill "$poll"
code=0
wait "$poll" || code=$?
poll=
sed -n '/ requests, /,$p' "$polled"
echo "the picture of it: $picture"
if grep -q '^DOWN' "$polled" || [ "$code" -ne 0 ]; then
    grep '^DOWN' "$polled" >&2 || true
    fail "a request failed"
fi
