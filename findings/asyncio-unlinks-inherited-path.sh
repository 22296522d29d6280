#!/usr/bin/env bash
# Since Python 3.13 asyncio removes the path of a Unix listener that it was handed.
#
# Software: CPython 3.13 or later (seen with 3.13.0); 3.12 and older leave the path.
# Guess:    `asyncio.start_unix_server(sock=...)` with an inherited listener leaves the path alone,
#           as it always has. The new clean-up is for paths that asyncio has bound itself.
# Seen:     Server.close() unlinks the path of any listener passed as sock=. Its check, that the
#           path is still the same socket, passes after a handoff: old and new app share that
#           socket.
# So:       An update of Python turns each reload of such an app into an outage: the stopping app
#           removes the path under its successor. Pass `cleanup_socket=False`.
#
# Needs python3.13 or later, as python3, python3.14, python3.13 or in ~/.pyenv. Exit status: 0 seen
# again, 1 the behaviour changed, 77 no such Python.
set -euo pipefail
python=
for candidate in python3 python3.14 python3.13 "$HOME"/.pyenv/versions/3.1[3-9]*/bin/python3; do
  if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 13))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
[ -n "$python" ] || { echo "missing: Python 3.13 or later"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" --version

cat >"$work/probe.py" <<'PY'
import asyncio, os, socket, sys

folder = sys.argv[1]


async def serve_and_stop(inherited_fd, **options):
    """Be an app: serve the inherited listener, then stop."""
    server = await asyncio.start_unix_server(
        lambda reader, writer: None, sock=socket.socket(fileno=inherited_fd), **options)
    server.close()
    await server.wait_closed()


for name, options in {"default": {}, "cleanup_socket=False": {"cleanup_socket": False}}.items():
    path = f"{folder}/{name}.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    asyncio.run(serve_and_stop(os.dup(listener.fileno()), **options))
    print(f"{name}: the path is {'there' if os.path.exists(path) else 'gone'}")
PY

echo "expected: the path is there, in both cases"
timeout --kill-after=5 600 "$python" "$work/probe.py" "$work" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
default: the path is gone
cleanup_socket=False: the path is there
SEEN
echo "seen: asyncio removed a path that it did not create"
