#!/bin/sh
# `segue deploy` for other machines: the same options, and beside them --host, which carries what is deployed there by ssh and runs
# `segue deploy` on that machine. Without --host it becomes `segue deploy` here, so that scripts which call it go on.
# docs/deploy.md says what a deploy does step by step.
#
# POSIX sh; beside segue it needs nothing, and for --host ssh and tar.
#
# shellcheck disable=SC2015  # Wherever it says A && B || C here, C is meant for a B that fails, too.
set -u
unset CDPATH
# A reader of our output that has gone must not end a deploy in the middle.
trap '' PIPE

# Seconds until a host that does not answer is given up, and between two signs of life of a connection.
SSH_WAIT=15

usage() {
    cat <<'TEXT'
Usage: deploy.sh [OPTIONS] BINARY
       deploy.sh --host USER@HOST [OPTIONS] BINARY

Runs `segue deploy` with these options, whose help follows below. Further ones:

  --host USER@HOST      deploy there, through ssh; repeatable: one after the other,
                        ending with the first that fails. It needs segue and tar
  --ssh COMMAND         the ssh command, split at spaces [default: $DEPLOY_SSH, or ssh]

The variable SEGUE has the place of --segue.

TEXT
}

nl='
'

say() { printf 'deploy: %s\n' "$1" >&2 || :; }

# fail TEXT [EXIT-CODE]
fail() {
    say "$1"
    exit "${2:-1}"
}

misused() { fail "$1; see deploy.sh --help" 2; }

# quote WORD: as one word for a shell.
quote() { printf '%s\n' "$1" | sed "s/'/'\\\\''/g; 1s/^/'/; \$s/\$/'/"; }

# is_program COMMAND: whether it is one program, by its path or in PATH, without arguments.
is_program() {
    case $1 in
        '') return 1 ;;
        */*) [ -x "$1" ] && [ ! -d "$1" ] ;;
        *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

# --- the command line --------------------------------------------------------------------------------------------------

ssh=${DEPLOY_SSH:-ssh} segue=${SEGUE:-} is_segue_given=no hosts='' name='' root='' action=deploy source='' is_tree=no image='' passed_on='' help=no

# The options that take a word of their own, which could look like an option or like BINARY.
takes_word() {
    case $1 in
        --name | --root | --control | --entry | --image | --code-at | --run-options | --engine | --sha256 | --timeout | --keep) ;;
        --preflight-command | --preflight-timeout | --supervisor-timeout) ;;
        *) return 1 ;;
    esac
}

pass_on() { passed_on="$passed_on $(quote "$1")"; }

# take WORD: an option with its value, if it has one, that is for segue, too.
take() {
    case $1 in
        --name=*) name=${1#*=} ;;
        --root=*) root=${1#*=} ;;
        --entry=*) is_tree=yes ;;
        --image=*) image=${1#*=} ;;
        --rollback | --rollback=*) action=rollback ;;
        --list) action=list ;;
        -h | --help) help=yes ;;
    esac
    pass_on "$1"
}

take_source() {
    [ -z "$source" ] || { pass_on "$1"; return; }
    source=$1
}

read_arguments() {
    while [ $# -gt 0 ]; do
        case $1 in
            --host=* | --ssh=* | --segue=*) take_own "${1%%=*}" "${1#*=}" ;;
            --host | --ssh | --segue)
                [ $# -ge 2 ] || misused "$1 needs a value"
                take_own "$1" "$2"
                shift
                ;;
            --) shift; break ;;
            -?*)
                if takes_word "$1" && [ $# -ge 2 ]; then
                    take "$1=$2"
                    shift
                else
                    take "$1"
                fi
                ;;
            *) take_source "$1" ;;
        esac
        shift
    done
    for word; do take_source "$word"; done
}

# take_own OPTION VALUE: one of those that only this script has, or has to know of.
take_own() {
    [ -n "$2" ] || misused "$1 needs a value"
    case $1 in
        --host) add_host "$2" ;;
        --ssh) ssh=$2 ;;
        --segue) segue=$2 is_segue_given=yes ;;
    esac
}

add_host() {
    case $1 in
        -* | *[!A-Za-z0-9._@:%-]*) misused "--host: expected USER@HOST, got $1" ;;
    esac
    hosts="$hosts $1"
}

# --- here --------------------------------------------------------------------------------------------------------------

# The program that deploys on this machine, in $here. It may ask the supervisor by another command, as in a container.
find_segue() {
    here=segue
    if is_program "${SEGUE:-}"; then here=$SEGUE; fi
    if is_program "$segue"; then here=$segue; fi
    is_program "$here" || fail "find $here: it is not in PATH (--segue, or the variable SEGUE)"
    # A version that has no such command says so by the exit code of a wrong command line.
    "$here" deploy --help >/dev/null 2>&1 ||
        fail "run $here deploy: this version of segue has no deploy; install the one that this script came with"
}

deploy_here() {
    if [ $help = yes ]; then
        usage
        here=segue
        if is_program "$segue"; then here=$segue; fi
        is_program "$here" || exit 0
    else
        find_segue
    fi
    [ -z "$segue" ] || pass_on "--segue=$segue"
    [ -z "$source" ] || passed_on="$passed_on -- $(quote "$source")"
    eval "exec \"\$here\" deploy$passed_on"
}

# --- other machines ----------------------------------------------------------------------------------------------------

work='' job='' caught='' caught_count=0 phase=checks

on_signal() {
    caught=$1
    caught_count=$((caught_count + 1))
    [ "$phase" != checks ] || {
        say "interrupted by SIG$caught: nothing was changed"
        exit "$(code_of_signal)"
    }
}

code_of_signal() {
    case $caught in HUP) echo 129 ;; INT) echo 130 ;; *) echo 143 ;; esac
}

clean_up() {
    trap '' HUP INT TERM
    [ -z "$work" ] || rm -rf -- "$work" 2>/dev/null
}

catch_signals() {
    trap 'on_signal HUP' HUP
    trap 'on_signal INT' INT
    trap 'on_signal TERM' TERM
    trap clean_up EXIT
}

# must WHAT COMMAND...
must() {
    attempted=$1
    shift
    said=$(LC_ALL=C "$@" 2>&1) || fail "$attempted: ${said##*: }"
}

deploy_remotely() {
    find_name
    case ${root:-/} in /*) ;; *) misused "--root: with --host it must start with /, got $root" ;; esac
    case $source in -*) source=./$source ;; esac
    if [ $action = deploy ]; then
        [ -n "$source$image" ] || misused "which BINARY?"
        [ -z "$source" ] || [ -e "$source" ] || fail "check $source: no such file"
        [ "$is_tree$image" != no ] || [ ! -d "$source" ] || fail "check $source: it is a directory; say which executable in it with --entry PATH"
    fi
    umask 077
    work=$(mktemp -d) || fail "make a temporary directory: mktemp failed"
    catch_signals
    pack
    done_hosts='' remaining=$hosts
    for host in $hosts; do
        remaining=${remaining#" $host"}
        say "$host: begins"
        on_host "$host"
        IFS= read -r line <"$work/out" || line=''
        if [ $action = list ]; then sed "s/^/$(printf '%s' "$host" | sed 's/[\/&\\]/\\&/g'): /" "$work/out"; else [ -z "$line" ] || printf '%s: %s\n' "$host" "$line" || :; fi
        [ "$ended" -eq 0 ] || stop_at_host
        done_hosts="$done_hosts $host"
    done
    [ $action = list ] || printf '%s: %s done on%s\n' "$name" "$action" "$done_hosts" || :
    exit 0
}

# As segue finds it: that of what is deployed, which has another one on its way.
find_name() {
    [ -z "$name" ] || return 0
    if [ -n "$image" ]; then
        name=${image%%@*} name=${name##*/} name=${name%%:*}
    else
        name=${source%"${source##*[!/]}"} name=${name##*/}
    fi
    case $name in
        '') misused "which app? Say it with --name" ;;
        [!A-Za-z0-9]* | *[!A-Za-z0-9._@+-]*)
            misused "$name cannot be the name of an app (letters, digits, . _ @ + -); say one with --name" ;;
    esac
    pass_on "--name=$name"
}

# The same bytes for every host, whatever becomes of the file meanwhile.
pack() {
    must "make $work/payload" mkdir -p -- "$work/payload"
    must "copy this script" cp -- "$0" "$work/deploy.sh"
    payload=''
    # An image comes to the host by podman.
    if [ $action = deploy ] && [ -n "$source" ]; then
        payload=$name
        if [ $is_tree = yes ] || [ -n "$image" ]; then
            must "copy $source" cp -R -- "$source/." "$work/payload/$payload"
        else
            must "copy $source" cp -- "$source" "$work/payload/$payload"
        fi
    fi
    must "pack $source" tar -cf "$work/tar" -C "$work" deploy.sh payload
}

on_host() {
    # shellcheck disable=SC2016  # The other shell expands it.
    script='umask 077
d=$(mktemp -d) || exit 1
trap "rm -rf \"\$d\"" EXIT
trap "exit 129" HUP
trap "exit 130" INT
trap "exit 143" TERM
trap "" PIPE
tar -xf - -C "$d" || exit 1
sh "$d/deploy.sh"'
    script="$script$passed_on"
    [ "$is_segue_given" = no ] || script="$script $(quote "--segue=$segue")"
    # shellcheck disable=SC2016
    [ -z "$payload" ] || script="$script"' -- "$d"/payload/'"$(quote "$payload")"
    # shellcheck disable=SC2086  # A command with its first arguments.
    $ssh -o ConnectTimeout=$SSH_WAIT -o ServerAliveInterval=$SSH_WAIT "$1" "sh -c $(quote "$script")" <"$work/tar" >"$work/out" &
    job=$!
    phase=remote
    while :; do
        before=$caught_count
        wait "$job"
        ended=$?
        [ "$caught_count" -ne "$before" ] || break
        kill "$job" 2>/dev/null
    done
    job='' phase=checks
}

stop_at_host() {
    rest="done:${done_hosts:- none}; not begun:${remaining:- none}"
    [ -z "$caught" ] || {
        say "interrupted by SIG$caught while $host was under way, where it goes on (ask with --host $host --list); $rest"
        exit "$(code_of_signal)"
    }
    [ "$ended" -ne 255 ] || fail "deploy to $host: ssh failed or lost the connection; if the deploy had begun it goes on there (ask with --host $host --list); $rest"
    fail "deploy to $host: exit status $ended; $rest" "$ended"
}

case $* in *"$nl"*) misused "a line end in a value" ;; esac
read_arguments "$@"
if [ -n "$hosts" ] && [ $help = no ]; then deploy_remotely; else deploy_here; fi
