#!/bin/sh
# Draw the pictures of docs/pictures/: Gunicorn is deployed three times, in three ways, while a client asks 100 times a
# second. Two deploys are good; the third cannot be imported. Needs python3 with venv, and a Rust toolchain.
#
#   examples/pictures.sh [--bin DIR] [--into DIR]
#
# --bin DIR   use segue and segue-poll from DIR instead of building them
# --into DIR  where the pictures go (default: docs/pictures)
set -eu

bin=
into=
root=$(cd "$(dirname "$0")/.." && pwd)
while [ $# -gt 0 ]; do
    case $1 in
        --bin) bin=$(cd "${2:?--bin needs a directory}" && pwd); shift 2 ;;
        --into) into=$(mkdir -p "${2:?--into needs a directory}" && cd "$2" && pwd); shift 2 ;;
        -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "pictures.sh: unknown argument '$1' (see --help)" >&2; exit 2 ;;
    esac
done
into=${into:-$root/docs/pictures}
if [ -z "$bin" ]; then
    # shellcheck source=examples/build.sh
    . "$root/examples/build.sh"
    build_programs "$root"
    bin=$target/debug
fi
mkdir -p "$into"

place=$(mktemp -d "${TMPDIR:-/tmp}/segue-pictures.XXXXXX")
server=

# shellcheck disable=SC2317 # called by the trap
finish() {
    status=$?
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    wait
    rm -rf "$place"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet "$(grep '^gunicorn' "$root/examples/django/requirements.txt")"
gunicorn=$place/venv/bin/gunicorn
cp "$root/examples/django/gunicorn.conf.py" "$place/"

# Put a release of the site into a directory of its own, and point `current` to it.
release() {
    mkdir -p "$place/$1"
    cp "$place/gunicorn.conf.py" "$place/$1/"
    cat > "$place/$1/shop.py" <<TEXT
$2
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"$1"]
TEXT
    ln -sfn "$1" "$place/current.new"
    mv -T "$place/current.new" "$place/current"
}

free_port() {
    "$place/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# One run: start, two good deploys, a broken one. $1 names the picture, $2 its headline, $3 starts, $4 deploys.
run() {
    port=$(free_port)
    release one ''
    "$3"
    tries=0
    until "$bin/segue-poll" --quiet --count 1 --timeout 1s "http://127.0.0.1:$port/" >/dev/null; do
        tries=$((tries + 1))
        [ "$tries" -lt 300 ] || { echo "pictures.sh: $1: Gunicorn did not answer within 30 s" >&2; exit 1; }
        sleep 0.1
    done
    "$bin/segue-poll" --quiet --timeout 2s --interval 40ms --connections 4 --duration 13s \
        --picture "$into/$1.svg" --title "$2" "http://127.0.0.1:$port/" &
    poll=$!
    for version in two three; do
        sleep 3
        release "$version" ''
        "$4"
    done
    sleep 3
    release broken 'import no_such_module'
    "$4" || true
    wait "$poll" || true
    [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server"; } || true
    server=
}

# -P keeps the link: Gunicorn believes $PWD.
start_gunicorn() {
    (cd -P "$place/current" && exec "$gunicorn" --workers 2 --bind "127.0.0.1:$port" --log-level error shop:application) 2>/dev/null &
    server=$!
}

restart_gunicorn() {
    kill "$server"
    wait "$server" || true
    start_gunicorn
}

# SIGHUP loads the code anew from the directory that Gunicorn was started in, so the release is copied there.
hup_gunicorn() {
    cp "$(readlink -f "$place/current")/shop.py" "$place/one/shop.py"
    kill -HUP "$server" 2>/dev/null
}

start_segue() {
    "$bin/segue" run --listen "127.0.0.1:$port" --control "$place/control" --name pictures --chdir "$place/current" \
        --probe "$bin/segue-poll --unix --timeout 5s --count 1 >/dev/null" \
        -- "$gunicorn" --workers 2 --log-level error shop:application 2>/dev/null &
    server=$!
}

reload_segue() { "$bin/segue" reload --control "$place/control"; }

export PYTHONDONTWRITEBYTECODE=1
run segue 'Gunicorn under Segue: two good deploys, a broken one' start_segue reload_segue
run stop-start 'Gunicorn stopped and started again: two good deploys, a broken one' start_gunicorn restart_gunicorn
run gunicorn-hup "Gunicorn's own SIGHUP: two good deploys, a broken one" start_gunicorn hup_gunicorn
