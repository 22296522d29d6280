#!/bin/sh
# Ships the commit that is checked out, by the least that is enough: git says what has changed since the commit that serves.
#
#     the image's recipe or a lock file   an image is built, and takes the place of the one that serves
#     code alone                          the image that serves is started again with the new code: none is built
#     neither                             nothing
#
# Which paths are which is in the file .ship. A change of that file itself counts as one of the image, and one of the script `build`
# as one of the code. Run it on the host on which Segue runs, with segue in PATH.
#
# usage: ship.sh --name NAME [--root DIRECTORY] [--decide] [-- OPTIONS OF segue deploy]
set -eu

say() { printf 'ship: %s\n' "$1" >&2; }
fail() { say "$1"; exit "${2:-1}"; }

name='' root='' decide=no
while [ $# -gt 0 ]; do
    case $1 in
        --name) name=${2:-} && shift ;;
        --root) root=${2:-} && shift ;;
        --decide) decide=yes ;;
        --) shift && break ;;
        *) fail "usage: ship.sh --name NAME [--root DIRECTORY] [--decide] [-- OPTIONS OF segue deploy]" 2 ;;
    esac
    [ $# -eq 0 ] || shift
done
[ -n "$name" ] || fail "which app? Say it with --name" 2
root=${root:-/srv/$name}
cd "$(git rev-parse --show-toplevel)"

# paths KIND: those that .ship calls so, one a line.
paths() { sed -n "s/^$1[[:blank:]]\{1,\}//p" .ship; }

# changed KIND: whether one of its paths differs from the commit that serves. Its first is in $first.
changed() {
    case $1 in image) decides=.ship ;; code) decides=build ;; esac
    first=$({ echo "$decides"; paths "$1"; } | while IFS= read -r path; do git diff --name-only "$since" HEAD -- "$path"; done | head -n 1)
    [ -n "$first" ]
}

# The release that serves says of which commit it is, and which image it runs.
release=$root/current
since=$(cat "$release"/code-*/.commit 2>/dev/null) || since=''
image=$(sed -n '3s/^# image: //p' "$release/$name" 2>/dev/null) || image=''
commit=$(git rev-parse HEAD)

if [ -z "$since" ] || [ -z "$image" ]; then
    what=image why="nothing is deployed in $root yet"
elif ! git cat-file -e "$since^{commit}" 2>/dev/null; then
    what=image why="this clone does not have the commit that serves, $since (is it shallow?)"
elif changed image; then
    what=image why="$first has changed since $since"
elif changed code; then
    what=code why="of the code alone has changed: $first"
else
    what=nothing why="neither image nor code has changed since $since"
fi
say "$what: $why"
if [ $decide = yes ]; then
    echo $what
    exit
fi
[ $what != nothing ] || exit 0

# Of the commit, whatever lies about in the working directory.
work=$(mktemp -d)
built=''
# `segue deploy` keeps the image that it has deployed by a tag of its own. One that it has not is of no use.
trap 'rm -rf "$work"; [ -z "$built" ] || podman rmi "$built" >/dev/null 2>&1 || :' EXIT
mkdir "$work/source" "$work/code"
git archive HEAD | tar -x -C "$work/source"
if [ $what = image ]; then
    image=localhost/$name:$commit
    podman build --quiet --tag "$image" "$work/source" >/dev/null
    built=$image
fi
if [ -x "$work/source/build" ]; then
    # For languages that are compiled: it puts what is to run into that directory.
    (cd "$work/source" && ./build "$work/code")
else
    paths code | while IFS= read -r path; do
        if [ -d "$work/source/$path" ]; then cp -R "$work/source/$path/." "$work/code/"; else cp "$work/source/$path" "$work/code/"; fi
    done
fi
printf '%s\n' "$commit" >"$work/code/.commit"
segue deploy --name "$name" --root "$root" --image "$image" "$@" "$work/code"
