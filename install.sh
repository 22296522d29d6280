#!/bin/sh
# Puts Segue where the system looks for it, or takes it away again. It copies files, and starts, enables and stops nothing.
set -eu
unset CDPATH
umask 022
# Directories sort before what is in them.
export LC_ALL=C

usage() {
    cat <<'END'
Usage: ./install.sh [OPTION]...

Installs the binary, segue-poll if it lies beside it, the man pages, completions for bash, zsh and fish, and what there is
of systemd units and deploy.sh (as segue-deploy, for other machines).
It starts and enables nothing. Run it again after an update; files that a newer version no longer has are removed.

  --prefix DIR    below which everything goes [default: $PREFIX, or /usr/local]
  --destdir DIR   put in front of all paths, for packages [default: $DESTDIR, or nothing]
  --binary FILE   the supervisor to install [default: bin/segue beside this script, or target/release/segue]
  --completions DIR
                  take the completion scripts from there, and do not ask the binary, which may be another machine's
                  [default: completions beside this script, if it is there]
  --uninstall     remove what was installed there, as the list in PREFIX/share/segue/installed has it
  --dry-run       say what would be done, and do nothing
  -h, --help      print this help

Exit codes: 0 done; 1 it failed, stderr says why; 2 the command line is wrong
END
}

fail() {
    echo "install.sh: $1" >&2
    exit "${2:-1}"
}

here=$(cd "$(dirname "$0")" && pwd)
prefix=${PREFIX:-/usr/local}
destdir=${DESTDIR:-}
binary=$here/bin/segue
[ -f "$binary" ] || binary=$here/target/release/segue
completions=$here/completions
[ -d "$completions" ] || completions=
task=install
dry=no

while [ $# -gt 0 ]; do
    case $1 in
        --prefix | --destdir | --binary | --completions)
            [ $# -ge 2 ] || fail "$1 needs a value; see --help" 2
            case $1 in
                --prefix) prefix=$2 ;;
                --destdir) destdir=$2 ;;
                --binary) binary=$2 ;;
                --completions) completions=$2 ;;
            esac
            shift
            ;;
        --prefix=*) prefix=${1#*=} ;;
        --destdir=*) destdir=${1#*=} ;;
        --binary=*) binary=${1#*=} ;;
        --completions=*) completions=${1#*=} ;;
        --uninstall) task=uninstall ;;
        --dry-run) dry=yes ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) fail "unknown option $1; see --help" 2 ;;
    esac
    shift
done

prefix=${prefix%/}
# It is written into units, where blanks and quotes would need another form.
case $prefix in
    /*) ;;
    *) fail "the prefix must be an absolute path other than /, got '$prefix'" 2 ;;
esac
case $prefix in
    *[!A-Za-z0-9/._+-]* | */../* | */..) fail "the prefix may have letters, digits, / . _ + - and no '..', got '$prefix'" 2 ;;
esac
case $destdir in
    -*) destdir=./$destdir ;;
esac
destdir=${destdir%/}

# The list of what is installed: `f PATH` is a file, `d PATH` a directory that was made. Paths are without DESTDIR. A line is
# written before the file that it is about, so that whatever interrupts an installation, --uninstall knows of all of it.
list=$prefix/share/segue/installed
unfinished=
trap '[ -z "$unfinished" ] || rm -f "$unfinished"' EXIT
trap 'exit 1' HUP INT TERM

note() {
    grep -qxF "$1" "$destdir$list" || printf '%s\n' "$1" >>"$destdir$list"
}

# Prints the directories above a path that are missing, the upmost first.
missing_above() (
    above=$(dirname "$1")
    [ ! -d "$destdir$above" ] || exit 0
    missing_above "$above"
    printf '%s\n' "$above"
)

# put MODE PATH COMMAND...: what the command prints goes there, renamed into place, so that a binary that runs is never
# written into.
wanted=
put() {
    mode=$1 path=$2
    shift 2
    wanted="$wanted
f $path"
    if [ "$dry" = yes ]; then
        echo "would install $destdir$path"
        return
    fi
    for directory in $(missing_above "$path"); do
        note "d $directory"
        mkdir "$destdir$directory"
    done
    note "f $path"
    unfinished=$destdir$path.new.$$
    "$@" >"$unfinished"
    chmod "$mode" "$unfinished"
    mv -f "$unfinished" "$destdir$path"
    unfinished=
    echo "installed $destdir$path"
}

# Units name the binary by its path.
at_prefix() {
    sed "s|/usr/\(local/\)\{0,1\}bin/segue|$prefix/bin/segue|g" "$1"
}

completion() {
    if [ -n "$completions" ]; then cat "$completions/$1"; else "$binary" completions "$1"; fi
}

units() {
    [ -d "$here/systemd" ] || return 0
    for file in "$here"/systemd/* "$here"/systemd/*/*; do
        [ -f "$file" ] || continue
        name=${file#"$here/systemd/"}
        case $name in
            # Examples and drop-ins are for people to copy.
            */* | *.md) put 0644 "$prefix/share/doc/segue/systemd/$name" at_prefix "$file" ;;
            *) put 0644 "$prefix/lib/systemd/system/$name" at_prefix "$file" ;;
        esac
    done
}

begin_list() {
    [ "$dry" = no ] || return 0
    [ -z "$destdir" ] || mkdir -p "$destdir"
    missing=$(missing_above "$list")
    mkdir -p "$destdir$(dirname "$list")"
    [ -f "$destdir$list" ] || : >"$destdir$list"
    for directory in $missing; do note "d $directory"; done
}

# Removes files that an earlier version had, and takes them off the list.
drop_stale() {
    [ -f "$destdir$list" ] || return 0
    listed=$(checked_list)
    printf '%s\n' "$listed" | while read -r kind path; do
        if [ "$kind" = d ] || printf '%s\n' "$wanted" | grep -qxF "f $path"; then continue; fi
        if [ "$dry" = yes ]; then
            echo "would remove $destdir$path, which this version does not have"
        else
            rm -f "$destdir$path"
            echo "removed $destdir$path, which this version does not have"
        fi
    done
    [ "$dry" = no ] || return 0
    unfinished=$destdir$list.new.$$
    { printf '%s\n' "$listed" | grep '^d ' || :; printf '%s\n' "$wanted" | grep '^f '; } >"$unfinished"
    mv -f "$unfinished" "$destdir$list"
    unfinished=
}

# Prints the list, but nothing of one that leads elsewhere: it is removed by root.
checked_list() {
    while read -r kind path; do
        case $kind:$path in
            *:*/../* | *:*/..) fail "the list $destdir$list is damaged: $kind $path" ;;
            f:"$prefix"/* | d:"$prefix" | d:"$prefix"/*) ;;
            d:/*) case $prefix/ in "$path"/*) ;; *) fail "the list $destdir$list is damaged: $kind $path" ;; esac ;;
            *) fail "the list $destdir$list is damaged: $kind $path" ;;
        esac
        printf '%s %s\n' "$kind" "$path"
    done <"$destdir$list"
}

install_all() {
    [ -f "$binary" ] || fail "there is no $binary; build it with: cargo build --release --locked -p segue"
    [ -n "$completions" ] || "$binary" --version >/dev/null 2>&1 || fail "cannot run $binary"
    begin_list
    put 0755 "$prefix/bin/segue" cat "$binary"
    poll=$(dirname "$binary")/segue-poll
    if [ -f "$poll" ]; then put 0755 "$prefix/bin/segue-poll" cat "$poll"; fi
    for page in "$here"/docs/man/*.[1-8]; do
        # A page comes with its program.
        case ${page##*/} in
            segue-poll.1) [ -f "$poll" ] || continue ;;
            segue-deploy.1) [ -f "$here/deploy.sh" ] || continue ;;
        esac
        put 0644 "$prefix/share/man/man${page##*.}/${page##*/}" cat "$page"
    done
    put 0644 "$prefix/share/bash-completion/completions/segue" completion bash
    put 0644 "$prefix/share/zsh/site-functions/_segue" completion zsh
    put 0644 "$prefix/share/fish/vendor_completions.d/segue.fish" completion fish
    units
    if [ -f "$here/deploy.sh" ]; then put 0755 "$prefix/bin/segue-deploy" cat "$here/deploy.sh"; fi
    drop_stale
    if [ -d "$here/systemd" ] && [ -z "$destdir" ] && [ "$dry" = no ]; then
        echo "nothing was started; systemd sees the units after: systemctl daemon-reload"
    fi
}

uninstall_all() {
    if [ ! -f "$destdir$list" ]; then
        echo "nothing is installed below $destdir$prefix: there is no $destdir$list"
        return
    fi
    listed=$(checked_list)
    if [ "$dry" = yes ]; then
        printf '%s\n' "$listed" | sed -n "s|^f |would remove $destdir|p"
        return
    fi
    printf '%s\n' "$listed" | while read -r kind path; do
        [ "$kind" = f ] || continue
        rm -f "$destdir$path"
        echo "removed $destdir$path"
    done
    rm -f "$destdir$list"
    # The deepest first; one in which others have put something stays.
    printf '%s\n' "$listed" | sed -n 's/^d //p' | sort -r | while read -r path; do
        rmdir "$destdir$path" 2>/dev/null || :
    done
}

case $task in
    install) install_all ;;
    uninstall) uninstall_all ;;
esac
