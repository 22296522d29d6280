#!/bin/sh
# Builds the supervisor and the sample app, and runs them on 127.0.0.1:1234 until ^C. All it needs is a Rust toolchain.
# Options are passed on to `segue run`: examples/run.sh --soak 2s
set -eu
cd "$(dirname "$0")/.."

# shellcheck source=examples/build.sh
. examples/build.sh
build_programs .

# A deploy replaces files, so the demonstration has files of its own to replace: a binary and an env file.
demo=$target/demo
mkdir -p "$demo"
cp "$target/debug/app" "$demo/app.new"
mv "$demo/app.new" "$demo/app"
[ -e "$demo/app.env" ] || echo 'APP_MESSAGE=test' > "$demo/app.env"

cat >&2 <<TEXT
A second terminal needs this line once; then segue, segue-poll and \$DEMO are at hand:
  export PATH="$target/debug:\$PATH" DEMO="$demo"
^C stops the app and the supervisor.
TEXT

# In place of this shell, so that ^C and every other signal reach the supervisor itself.
exec "$target/debug/segue" run --listen http=127.0.0.1:1234 --env-file "$demo/app.env" "$@" -- "$demo/app"
