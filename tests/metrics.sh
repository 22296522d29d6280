#!/usr/bin/env bash
# Whether promtool reads what `segue metrics` prints. A supervisor of its own is started and stopped.
#
# usage: PROMTOOL=PATH tests/metrics.sh DIRECTORY_OF_BINARIES
set -euo pipefail
binaries=$(cd "${1:?usage: tests/metrics.sh DIRECTORY}" && pwd)
work=$(mktemp -d)
"$binaries/segue" run --control "$work/control" --listen 127.0.0.1:0 -- "$binaries/app" 2>"$work/log" &
supervisor=$!
trap 'kill "$supervisor" 2>/dev/null || :; wait "$supervisor" || :; rm -rf "$work"' EXIT
for _ in $(seq 600); do
    if "$binaries/segue" metrics --control "$work/control" >"$work/metrics" 2>/dev/null &&
        grep -q '^segue_serving{.*} 1$' "$work/metrics"; then
        "$PROMTOOL" check metrics <"$work/metrics"
        echo "metrics: $(grep -c '^segue_' "$work/metrics") samples, understood by promtool"
        exit
    fi
    sleep 0.1
done
cat "$work/log" >&2
exit 1
