#!/bin/sh
# Deploys a program that runs under segue: copies it into a release directory, flips the symlink `current` to it and
# reloads. It either ends with the new release serving, or leaves everything as it was and says why.
# `deploy.sh --help` says how to use it; docs/deploy.md says what it does step by step.
#
# What holds at every instant, whatever kills this script:
# * `current` leads to a complete release whose bytes are on the disk, or to where it led before;
# * between the flip and its outcome the file .deploy says which flip is under way, so that the next run can resolve it;
# * whatever is half made lies in .deploy.work and releases/.new, which the next run removes under the lock.
#
# Wherever the script says who serves, it has asked segue. POSIX sh; beside the tools of a bare Debian (or busybox) it
# needs nothing but segue.
#
# shellcheck disable=SC2015  # Wherever it says A && B || C here, C is meant for a B that fails, too.
set -u
umask 022
unset CDPATH
# A reader of our output that has gone must not end a deploy in the middle.
trap '' PIPE

# Seconds that `--wait` waits for another deploy, unless it says how many: several deploys with a long probation.
LOCK_WAIT=600
# Seconds that a preflight may take: as long as segue gives an app to be ready.
PREFLIGHT_TIMEOUT=30
# How long the outcome of a reload is waited for: more than start, probe and probation with segue's defaults.
RELOAD_TIMEOUT=10m
# Releases that are kept.
KEEP=5
# Seconds that are given to a handoff that an interrupted deploy has left under way.
RESOLVE_WAIT=120
# Seconds that a last good generation is given to serve after a rollback, before it is said that nobody serves.
RETURN_WAIT=10
# Seconds that a supervisor that went away is given to come back: a unit with RestartSec=30s, and its start.
SUPERVISOR_TIMEOUT=60
# How often a reload is asked for that a supervisor did not take, for it was killed.
RELOAD_TRIES=3
# What .unproven says in a release that served until somebody rolled back from it.
ROLLED_BACK='rolled back from'
# Seconds until a host that does not answer is given up, and between two signs of life of a connection.
SSH_WAIT=15

usage() {
    cat <<TEXT
Usage: deploy.sh [OPTIONS] BINARY
       deploy.sh [OPTIONS] --entry PATH DIRECTORY
       deploy.sh [OPTIONS] --image REF [CODE-DIRECTORY]
       deploy.sh [OPTIONS] --rollback[=RELEASE]
       deploy.sh [OPTIONS] --list

Deploys BINARY to an app that runs under segue, with the command ROOT/current/NAME:
copies it to ROOT/releases/TIMESTAMP-SHA/NAME, points the symlink ROOT/current to
that, runs \`segue reload\`, and waits until probation has passed. If the new version
fails, \`current\` points to the old one again, which has served all the while.

What to deploy:
  --entry PATH          deploy a directory whose executable is PATH within it; the
                        command of segue is then ROOT/current/PATH
  --image REF           deploy an image of podman: the release is a script that runs
                        it; pulled if it is not here yet, and kept as long as the
                        release is. CODE-DIRECTORY becomes part of the release, and
                        its containers have it, read-only, at --code-at
  --code-at PATH        where that is in a container [default: /srv/NAME]
  --run-options OPTIONS further options of \`podman run\`, split at spaces
  --engine COMMAND      how podman is called, split at spaces [default: podman]
  --sha256 HEX          refuse a BINARY with another SHA-256
  --force               deploy even if the same release serves already, or if who
                        serves does not run from ROOT
  --preflight[=ARGS]    first run the copy with ARGS (split at spaces; default
                        --check); deploy only if it exits with 0
  --preflight-timeout SECONDS
                        how long that may take [default: $PREFLIGHT_TIMEOUT]
  --dry-run             make every check, say what would be done, change nothing

Other commands:
  --rollback[=RELEASE]  go back to the release before the current one, or to that one
  --list                list the releases

Where:
  --name NAME           the app: its instance of segue, and the file in the release
                        [default: the file name of BINARY, or the image's name]
  --root DIRECTORY      where its releases are [default: /srv/NAME]
  --control PATH        the control socket of segue, instead of its --name
  --segue COMMAND       how segue is called, split at spaces unless it is one file, as
                        in 'docker exec app segue' [default: \$SEGUE, or segue]
  --host USER@HOST      deploy there, through ssh; repeatable: one after the other,
                        ending with the first that fails
  --ssh COMMAND         the ssh command, split at spaces [default: \$DEPLOY_SSH, or ssh]

How:
  --no-settle           return at the takeover, without waiting for probation
  --no-reload           put the release in place, but reload nothing: for the first
                        deploy, before the service has been started
  --timeout DURATION    how long to wait for the outcome of the reload, as in 90s
                        [default: $RELOAD_TIMEOUT]; \`none\` waits without end
  --supervisor-timeout SECONDS
                        how long a supervisor that goes away during the deploy is
                        given to come back [default: $SUPERVISOR_TIMEOUT]
  --wait[=SECONDS]      wait for another deploy to end [default: $LOCK_WAIT]; without
                        --wait a second deploy is refused
  --keep N              how many good releases stay [default: $KEEP]; the current one,
                        the one before and those that still run stay in any case
  -h, --help            this text

Progress and errors go to stderr. The last line says who serves: on stdout after a
success, on stderr after a failure.

Exit codes:
  0    done: the release serves (or it did already)
  1    it failed or was rolled back; the release that served before serves
  2    the command line is wrong
  3    no supervisor answers; nothing was changed
  4    the outcome is still to come: --timeout has passed, or the supervisor went
       away and did not come back; the next run resolves it
  129, 130, 143   interrupted by SIGHUP, SIGINT, SIGTERM; the last line says how far
       it came. The next run resolves what was left open.
TEXT
}

# --- words -------------------------------------------------------------------------------------------------------------

nl='
'

say() { printf 'deploy: %s\n' "$1" >&2 || :; }

# fail TEXT [EXIT-CODE]
fail() {
    say "$1"
    exit "${2:-1}"
}

misused() { fail "$1; see deploy.sh --help" 2; }

# attempt WHAT COMMAND...: runs it; if it fails, says so in one line and returns its status. The cause is the last part
# of what the command said.
attempt() {
    attempted=$1
    shift
    if said=$( [ "$phase" = checks ] || trap '' HUP INT TERM; LC_ALL=C "$@" 2>&1 ); then
        return 0
    else
        status_of_attempt=$?
    fi
    said=${said##*"$nl"}
    said=${said##*: }
    cause="$attempted: ${said:-exit status $status_of_attempt}"
    return "$status_of_attempt"
}

must() { attempt "$@" || fail "$cause"; }

# put TEXT FILE. By way of cat, which says why it cannot write; printf would only say that cat has gone.
put() { printf '%s\n' "$1" 2>/dev/null | cat >"$2"; }

# quote WORD: as one word for a shell.
quote() { printf '%s\n' "$1" | sed "s/'/'\\\\''/g; 1s/^/'/; \$s/\$/'/"; }

is_number() {
    case $1 in
        '' | *[!0-9]* | ??????????*) return 1 ;;
        *) return 0 ;;
    esac
}

# when RFC3339: as people read it.
when() {
    when_time=${1#*T}
    printf '%s %s UTC' "${1%%T*}" "${when_time%%[.Z]*}"
}

# --- the command line --------------------------------------------------------------------------------------------------

action=deploy binary='' binary_given=no name='' root='' control='' entry='' expected_sha='' release_wanted=''
image='' engine=podman run_options='' code_at=''
segue=${SEGUE:-segue} ssh=${DEPLOY_SSH:-ssh} hosts='' passed_on=''
settle=yes reload=yes timeout=$RELOAD_TIMEOUT wait_for_lock=0 keep=$KEEP force=no dry_run=no
preflight=no preflight_arguments=--check preflight_timeout=$PREFLIGHT_TIMEOUT supervisor_timeout=$SUPERVISOR_TIMEOUT

read_arguments() {
    while [ $# -gt 0 ]; do
        option=$1 word=$1 value='' has_value=no
        case $option in
            --?*=*) value=${option#*=} option=${option%%=*} has_value=yes ;;
        esac
        case $option in
            --name | --root | --control | --entry | --image | --code-at | --run-options | --engine | --sha256 | --segue | --ssh | --host | --timeout | --keep | --preflight-timeout | --supervisor-timeout)
                if [ $has_value = no ]; then
                    [ $# -ge 2 ] || misused "$option needs a value"
                    value=$2 word=$option=$2
                    shift
                fi
                [ -n "$value" ] || misused "$option needs a value"
                case $value in *"$nl"*) misused "$option: a line end in a value" ;; esac
                ;;
            --wait | --preflight | --rollback) ;;
            -*) [ $has_value = no ] || misused "$option takes no value" ;;
        esac
        case $option in
            -h | --help) usage; exit 0 ;;
            --name) name=$value ;;
            --root) root=$value ;;
            --control) control=$value ;;
            --entry) entry=$value ;;
            --image) image=$value ;;
            --code-at) code_at=$value ;;
            --run-options) run_options=$value ;;
            --engine) engine=$value ;;
            --sha256) expected_sha=$value ;;
            --segue) segue=$value ;;
            --ssh) ssh=$value ;;
            --host)
                case $value in
                    -* | *[!A-Za-z0-9._@:%-]*) misused "--host: expected USER@HOST, got $value" ;;
                esac
                hosts="$hosts $value"
                ;;
            --timeout) timeout=$value ;;
            --keep) keep=$value ;;
            --preflight) preflight=yes; [ $has_value = no ] || preflight_arguments=$value ;;
            --preflight-timeout) preflight_timeout=$value ;;
            --supervisor-timeout) supervisor_timeout=$value ;;
            --rollback) action=rollback release_wanted=$value ;;
            --list) action=list ;;
            --no-settle) settle=no ;;
            --no-reload) reload=no ;;
            --wait) wait_for_lock=$LOCK_WAIT; [ $has_value = no ] || wait_for_lock=$value ;;
            --force) force=yes ;;
            --dry-run) dry_run=yes ;;
            --) shift; break ;;
            -?*) misused "there is no option $option" ;;
            *) take_binary "$1" ;;
        esac
        case $option in
            --host | --ssh | --name | --) ;;
            -*) pass_on "$word" ;;
        esac
        shift
    done
    while [ $# -gt 0 ]; do
        take_binary "$1"
        shift
    done
}

take_binary() {
    [ $binary_given = no ] || misused "one BINARY at a time, got $binary and $1"
    [ -n "$1" ] || misused "BINARY is empty"
    case $1 in *"$nl"*) misused "a line end in the name of BINARY" ;; esac
    binary=$1 binary_given=yes
    # So that no command takes it for an option.
    case $binary in -*) binary=./$binary ;; esac
}

pass_on() { passed_on="$passed_on $(quote "$1")"; }

check_arguments() {
    case $action in
        deploy) [ $binary_given = yes ] || [ -n "$image" ] || misused "which BINARY?" ;;
        rollback | list)
            [ $binary_given = no ] || misused "--$action takes no BINARY"
            [ -z "$image" ] || misused "--$action takes no --image"
            ;;
    esac
    if [ -n "$image" ]; then
        [ -z "$code_at" ] || [ $binary_given = yes ] || misused "--code-at is for the CODE-DIRECTORY of an --image"
        case $code_at in '' | /*) ;; *) misused "--code-at: expected an absolute path, got $code_at" ;; esac
        case $root$code_at in *:*) [ $binary_given = no ] || misused "podman takes no colon in the path of a volume" ;; esac
        [ -z "$entry" ] || misused "--entry is for a directory, not for an image"
        [ -z "$expected_sha" ] || misused "--sha256 is for a BINARY; name an image by its digest: NAME@sha256:..."
        case $image in -* | *[[:space:]]*) misused "--image: expected the name of an image, got $image" ;; esac
    else
        [ -z "$run_options$code_at" ] || misused "--run-options and --code-at are for an --image"
    fi
    if [ -z "$name" ]; then
        [ $binary_given = yes ] || [ -n "$image" ] || misused "which app? Say it with --name"
        # Without the digest and the tag of an image, whose registry may have a port.
        [ -z "$image" ] || { name=${image%%@*} name=${name##*/} name=${name%%:*}; }
        [ -n "$image" ] || name=${binary%"${binary##*[!/]}"}
        name=${name##*/}
    fi
    # What segue allows, so that the name can be that of an instance and of a file.
    case $name in
        [!A-Za-z0-9]* | *[!A-Za-z0-9._@+-]*)
            misused "$name cannot be the name of an app (letters, digits, . _ @ + -); say one with --name" ;;
    esac
    case $entry in
        /* | .. | ../* | */.. | */../*) misused "--entry: expected a path within the directory, got $entry" ;;
    esac
    entry=${entry#./}
    is_number "$keep" && [ "$keep" -ge 1 ] || misused "--keep: expected a number from 1 on, got $keep"
    is_number "$wait_for_lock" || misused "--wait: expected seconds, got $wait_for_lock"
    is_number "$preflight_timeout" && [ "$preflight_timeout" -ge 1 ] ||
        misused "--preflight-timeout: expected seconds, got $preflight_timeout"
    is_number "$supervisor_timeout" || misused "--supervisor-timeout: expected seconds, got $supervisor_timeout"
    case $timeout in
        none) ;;
        *[!0-9hms]* | [!0-9]*) misused "--timeout: expected a duration as in 90s (or ms, m, h), got $timeout" ;;
        *[0-9]h | *[0-9]m | *[0-9]s | *[0-9]ms) ;;
        *) misused "--timeout: a duration needs a unit: 90s (or ms, m, h), got $timeout" ;;
    esac
    case $release_wanted in
        */* | .*) misused "--rollback: expected the name of a release as in --list, got $release_wanted" ;;
    esac
    case $expected_sha in
        '') ;;
        *[!0-9a-f]*) misused "--sha256: expected 64 digits in lower-case hexadecimal, got $expected_sha" ;;
        *) [ ${#expected_sha} -eq 64 ] || misused "--sha256: expected 64 digits, got ${#expected_sha}" ;;
    esac
}

# --- images ------------------------------------------------------------------------------------------------------------

# with_engine ARGS...: podman, or what --engine says.
with_engine() {
    set -f
    # shellcheck disable=SC2086  # A command with its first arguments.
    set -- $engine "$@"
    set +f
    "$@"
}

# A release of an image is a script. It says the same for the same image, so that its SHA-256 tells whether that serves
# already; what it runs is named by its ID, which no later build and no pull moves.
write_starter() {
    command -v "${engine%% *}" >/dev/null || fail "find ${engine%% *}: it is not installed; an --image needs podman (--engine says how it is called)"
    if ! with_engine image exists "$image" 2>/dev/null && [ $dry_run = yes ]; then
        printf '%s: would pull image %s and deploy it; dry run: nothing was changed\n' "$name" "$image" || :
        exit 0
    fi
    with_engine image exists "$image" 2>/dev/null || must "pull image $image" with_engine pull --quiet "$image"
    image_id=$(with_engine image inspect --format '{{.Id}}' "$image" 2>/dev/null) && [ ${#image_id} -ge 64 ] ||
        fail "look at image $image: $engine does not know its ID"
    image_id=${image_id#sha256:}
    drafts=$(mktemp -d) || fail "make a temporary directory: mktemp failed"
    catch_signals
    if [ $binary_given = yes ]; then draft_code; else binary=$drafts/$name; fi
    {
        printf '#!/bin/sh\n# Made by deploy.sh. Segue starts it and hands it the listeners, and podman hands them on.\n'
        printf '# image: %s\n' "$(keeper_of "$image_id")"
        # shellcheck disable=SC2016  # The script expands it.
        [ -z "$entry" ] || printf 'release=$(dirname -- "$(readlink -f -- "$0")") || exit\n'
        printf 'exec'
        set -f
        for word in $engine run --rm --sdnotify=container "--label=segue=$name" --env SEGUE_NAME --env SEGUE_GENERATION --env SEGUE_WORKER $run_options; do
            printf ' %s' "$(quote "$word")"
        done
        set +f
        # shellcheck disable=SC2016
        printf ' ${SEGUE_PREFLIGHT:+"--label=segue-preflight=$SEGUE_PREFLIGHT"}'
        # shellcheck disable=SC2016
        [ -z "$entry" ] || printf ' --volume "$release"/%s:%s' "${code##*/}" "$(quote "${code_at:-/srv/$name}:ro")"
        printf ' %s "$@"\n' "sha256:$image_id"
    } >"$drafts/$name" && { [ -z "$entry" ] || must "move the starter" mv -- "$drafts/$name" "$binary/"; } && chmod 0755 "$binary${entry:+/$entry}" || fail "write $binary: cannot write to the temporary directory"
    say "image $image is $(printf %.12s "$image_id")"
}

# draft_code: a tree of the code and of the script that goes beside it. The code is named after its content: if `current` is
# flipped in the instant in which the script looks where it is, it finds nothing, and never other code.
draft_code() {
    [ -d "$binary" ] || fail "check $binary: not a directory; the code beside an --image is one"
    check_hard_links
    entry=$name
    code=$drafts/tree/code-$(sha_of "$binary" | cut -c 1-12)
    must "make $code" mkdir -p -- "$code"
    must "copy $binary" cp -R -P -- "$binary/." "$code/"
    binary=$drafts/tree
}

# The repository of our tags: of this root alone, since another one with the same name lets go of its own images.
keepers() { printf 'localhost/segue-%s-%.8s' "$(printf %s "$name" | LC_ALL=C tr '[:upper:]' '[:lower:]' | LC_ALL=C tr -c 'a-z0-9' -)" "$(printf %s "$root" | sha256sum)"; }

# keeper_of ID: the tag that keeps an image as long as a release of this app starts it, whatever becomes of its other tags.
keeper_of() { printf '%s:%.12s' "$(keepers)" "$1"; }

# keeper_in RELEASE: the tag that its script names, in $keeper; empty if it is no release of an image.
keeper_in() {
    keeper=''
    ! is_plain "$root/releases/$1/$name" || keeper=$(head -c 4096 "$root/releases/$1/$name" | tr -d '\0' | sed -n '3s/^# image: \(localhost\/segue-[a-z0-9:-]*\)$/\1/p')
}

keep_image() {
    clear_dead
    must "keep image $image" with_engine tag "$image_id" "$(keeper_of "$image_id")"
}

# Of a container that had to be killed podman believes that it runs. (One that is just being created has no pid yet.) A
# living one is never taken for dead: not where /proc hides the processes of others, nor where the engine sees other ones.
clear_dead() {
    [ -e /proc/1 ] || return 0
    with_engine ps --filter "label=segue=$name" --format '{{.ID}} {{.Pid}}' 2>/dev/null | while read -r container pid; do
        ! is_number "$pid" || [ "$pid" -eq 0 ] || [ -e "/proc/$pid" ] || with_engine top "$container" pid </dev/null >/dev/null 2>&1 ||
            with_engine rm --force "$container" >/dev/null 2>&1 || :
    done
}

# let_go KEEPER: of an image that no release starts any more. Podman itself keeps one that a container runs or that has
# another tag.
let_go() {
    [ -n "$1" ] || return 0
    for other in $(releases); do
        keeper_in "$other"
        [ "$keeper" != "$1" ] || return 0
    done
    clear_dead
    attempt "remove image $1" with_engine rmi "$1" </dev/null || say "$cause"
}

# Of those, too, that podman refused to remove when their release went.
let_go_of_rest() {
    [ -n "$image" ] || return 0
    with_engine images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null | grep "^$(keepers):" | sort -u | while read -r tag; do let_go "$tag"; done || :
}

check_image_of() {
    keeper_in "$1"
    [ -z "$keeper" ] || with_engine image exists "$keeper" 2>/dev/null || fail "roll back: image $keeper of release $1 is gone"
}

# --- what is deployed --------------------------------------------------------------------------------------------------

check_source() {
    [ -e "$binary" ] || {
        [ ! -L "$binary" ] || fail "check $binary: it is a symlink that leads nowhere"
        fail "check $binary: no such file"
    }
    if [ -n "$entry" ]; then
        [ -d "$binary" ] || fail "check $binary: not a directory, as --entry says"
        odd=$(find "$binary/." ! -type f ! -type d ! -type l 2>/dev/null | head -n 1)
        [ -z "$odd" ] || fail "check $binary: $odd is neither a file, a directory nor a symlink"
        [ -e "$binary/$entry" ] || fail "check $binary: there is no $entry in it"
        check_inside "$binary" "$entry"
        check_hard_links
        check_program "$binary/$entry"
    else
        [ ! -d "$binary" ] || fail "check $binary: it is a directory; say which executable in it with --entry PATH"
        check_program "$binary"
    fi
}

# check_inside DIRECTORY PATH: no link on PATH leads out of DIRECTORY. The author of the tree may be trusted less than us.
check_inside() {
    inside=$(cd -- "$1" && pwd -P) || fail "check $1: cannot enter it"
    leads_to=$(readlink -f -- "$1/$2") || fail "check $1: $2 is a symlink that leads nowhere"
    case $leads_to in
        "${inside%/}"/*) ;;
        *) fail "check $1: $2 leads out of it, to $leads_to" ;;
    esac
}

# A copy of another user's file would be readable for everybody, whatever the mode of that file is.
check_hard_links() {
    foreign=$(find "$binary/." -type f -links +1 ! -user "$(stat -L -c %u "$binary")" 2>/dev/null | head -n 1)
    [ -z "$foreign" ] || fail "check $binary: $foreign is a hard link to a file of another user"
}

is_plain() { [ -f "$1" ] && [ ! -L "$1" ]; }

# check_program FILE: what can be known before it is started.
check_program() {
    program=$1
    [ -f "$program" ] || fail "check $program: it is no regular file"
    [ -r "$program" ] || fail "check $program: permission denied"
    program_size=$(wc -c <"$program" | tr -d ' ')
    [ "$program_size" -gt 0 ] || fail "check $program: it is empty"
    # shellcheck disable=SC2046  # One word a byte is what is wanted.
    set -- $(od -A n -v -t u1 -N 64 "$program")
    case "${1:-} ${2:-} ${3:-} ${4:-}" in
        '127 69 76 70') check_elf "$@" ;;
        '35 33 '*) check_script ;;
        *) fail "check $program: neither a program for Linux (ELF) nor a script that starts with #!" ;;
    esac
}

check_script() {
    # As much as the kernel looks at.
    first_line=$(head -c 256 "$program" | tr -d '\0' | head -n 1)
    interpreter=${first_line#'#!'}
    interpreter=${interpreter#"${interpreter%%[! 	]*}"}
    interpreter=${interpreter%%[ 	]*}
    [ -n "$interpreter" ] || fail "check $program: its first line names no interpreter"
    case $interpreter in
        *"$(printf '\r')") fail "check $program: its first line ends with a carriage return (the line ends of Windows)" ;;
    esac
    [ -e "$interpreter" ] || fail "check $program: its interpreter $interpreter does not exist"
    [ -x "$interpreter" ] || fail "check $program: its interpreter $interpreter cannot be executed"
}

# little COUNT BYTE...: the number that COUNT bytes make, the least first, in $number.
little() {
    little_count=$1 number=0 shift_by=0
    shift
    while [ "$little_count" -gt 0 ]; do
        number=$((number + (${1:-0} << shift_by)))
        shift_by=$((shift_by + 8)) little_count=$((little_count - 1))
        [ $# -eq 0 ] || shift
    done
}

# field OFFSET COUNT: a number of the header whose bytes are in $header.
field() {
    field_offset=$1 field_count=$2
    # shellcheck disable=SC2086  # One word a byte is what is wanted.
    set -- $header
    if [ $# -lt $((field_offset + field_count)) ]; then
        number=0
        return
    fi
    shift "$field_offset"
    little "$field_count" "$@"
}

check_elf() {
    header="$*"
    [ $# -ge 20 ] || fail "check $program: truncated: only $program_size bytes"
    [ "$6" -le 2 ] && [ "$6" -ge 1 ] && [ "$5" -le 2 ] && [ "$5" -ge 1 ] || fail "check $program: its ELF header makes no sense"
    # A header with the other order of bytes is of another machine anyway.
    if [ "$6" = 2 ]; then elf_machine=$((${19} * 256 + ${20})); else field 18 2; elf_machine=$number; fi
    machine=$(uname -m)
    case $elf_machine in
        3) elf_name=i386 ;; 8) elf_name=mips ;; 20) elf_name=ppc ;; 21) elf_name=ppc64 ;; 22) elf_name=s390x ;;
        40) elf_name=arm ;; 62) elf_name=x86_64 ;; 183) elf_name=aarch64 ;; 243) elf_name=riscv ;;
        *) elf_name="machine number $elf_machine" ;;
    esac
    case $machine in
        x86_64) wanted='62 2 1' ;;
        aarch64) wanted='183 2 1' ;;
        # On others nothing is compared: segue is not built for them.
        *) wanted="$elf_machine $5 $6" ;;
    esac
    [ "$elf_machine $5 $6" = "$wanted" ] || {
        bits=64
        [ "$5" = 2 ] || bits=32
        fail "check $program: built for $elf_name ($bits bit), this machine is $machine"
    }
    field 16 2
    case $number in
        2 | 3) ;;
        1) fail "check $program: it is an object file, no program" ;;
        4) fail "check $program: it is a core dump, no program" ;;
        *) fail "check $program: it is no program (ELF type $number)" ;;
    esac
    if [ "$5" = 2 ]; then
        [ $# -ge 64 ] || fail "check $program: truncated: only $program_size bytes"
        field 32 8; phoff=$number; field 40 8; shoff=$number
        field 54 2; phentsize=$number; field 56 2; phnum=$number; field 58 2; shentsize=$number; field 60 2; shnum=$number
        word=8 at_offset=8 at_filesz=32
    else
        [ $# -ge 52 ] || fail "check $program: truncated: only $program_size bytes"
        field 28 4; phoff=$number; field 32 4; shoff=$number
        field 42 2; phentsize=$number; field 44 2; phnum=$number; field 46 2; shentsize=$number; field 48 2; shnum=$number
        word=4 at_offset=4 at_filesz=16
    fi
    [ "$phnum" -gt 0 ] || fail "check $program: it is no program: it has nothing to load"
    reaches "$phoff" $((phentsize * phnum))
    reaches "$shoff" $((shentsize * shnum))
    # Programs have about ten; so many would take long to read and are no sane program.
    [ "$phnum" -le 200 ] && check_segments
}

# reaches OFFSET LENGTH: such a part must lie within the file.
reaches() {
    [ "$1" -ge 0 ] && [ $(($1 + $2)) -le "$program_size" ] && [ $(($1 + $2)) -ge 0 ] ||
        fail "check $program: truncated: $program_size bytes, but its headers name bytes up to $(($1 + $2))"
}

check_segments() {
    interpreter=''
    # shellcheck disable=SC2046
    set -- $(od -A n -v -t u1 -j "$phoff" -N $((phentsize * phnum)) "$program")
    while [ "$phnum" -gt 0 ] && [ $# -ge "$phentsize" ] && [ "$phentsize" -ge 32 ]; do
        segment_type=$1
        # The header of one segment is at most 56 bytes long.
        header="$1 $2 $3 $4 $5 $6 $7 $8 $9 ${10} ${11} ${12} ${13} ${14} ${15} ${16} ${17} ${18} ${19} ${20}"
        header="$header ${21} ${22} ${23} ${24} ${25} ${26} ${27} ${28} ${29} ${30} ${31} ${32} ${33:-0} ${34:-0} ${35:-0}"
        header="$header ${36:-0} ${37:-0} ${38:-0} ${39:-0} ${40:-0}"
        field $at_offset $word; segment_offset=$number
        field $at_filesz $word; segment_size=$number
        case $segment_type in
            1) reaches "$segment_offset" "$segment_size" ;;
            3)
                reaches "$segment_offset" "$segment_size"
                interpreter=$(dd if="$program" bs=1 skip="$segment_offset" count="$segment_size" 2>/dev/null | tr -d '\0')
                ;;
        esac
        shift "$phentsize"
        phnum=$((phnum - 1))
    done
    [ -z "$interpreter" ] || [ -e "$interpreter" ] ||
        fail "check $program: it needs the loader $interpreter, which does not exist (is it built for another C library?)"
}

# sha_of PATH: of a file; of a directory that of all its names, contents, links and execute bits, but for our own mark.
sha_of() {
    if [ -n "$entry" ]; then
        (
            cd -- "$1" || exit
            {
                find . -path ./.unproven -prune -o -type f -exec sha256sum {} +
                find . -path ./.unproven -prune -o -type f -perm -100 -print
                find . -path ./.unproven -prune -o -type d -print
                # shellcheck disable=SC2016  # The inner shell expands it.
                find . -path ./.unproven -prune -o -type l -exec sh -c 'for link do printf "%s -> %s\n" "$link" "$(readlink "$link")"; done' sh {} +
            } | LC_ALL=C sort | sha256sum | cut -c 1-64
        )
    else
        sha256sum <"$1" | cut -c 1-64
    fi
}

# size_of PATH: bytes.
size_of() {
    if [ -d "$1" ]; then
        (cd -- "$1" && find . -path ./.unproven -prune -o -type f -exec cat {} +) | wc -c | tr -d ' '
    else
        wc -c <"$1" | tr -d ' '
    fi
}

# --- who serves --------------------------------------------------------------------------------------------------------

# In place of the (sub)shell that calls it.
exec_segue() {
    if [ -x "$segue" ] && [ ! -d "$segue" ]; then
        exec "$segue" "$@"
    else
        set -f
        # shellcheck disable=SC2086  # A command with its first arguments.
        exec $segue "$@"
    fi
}

with_target() {
    if [ -n "$control" ]; then "$@" --control "$control"; else "$@" --name "$name"; fi
}

last_facts=''

# ask: the status of segue in $facts, its exit code in $answered; who serves in $serving_release (a name in releases/,
# empty if it is none of ours) and the other serving_ variables.
ask() {
    facts=$(with_target exec_segue status --flat 2>&1)
    answered=$?
    serving_release='' serving_generation='' serving_since='' serving_path='' serving_inode='' serving_pid='' serving_probation=''
    through_current=no
    case "$answered $facts" in
        [01]' '*schema=*) ;;
        # What it runs through has failed, not segue: there is no container, no host.
        [01]' '*) answered=3; return ;;
        *) return ;;
    esac
    facts="$nl$facts$nl" last_facts=$facts
    serving_number=0
    while fact "generations.$serving_number.role"; [ -n "$fact" ] && [ "$fact" != incumbent ]; do
        serving_number=$((serving_number + 1))
    done
    [ -n "$fact" ] || return
    fact "generations.$serving_number.generation"; serving_generation=$fact
    fact "generations.$serving_number.since"; serving_since=$fact
    fact "generations.$serving_number.probation"; serving_probation=$fact
    fact "generations.$serving_number.binary.path"; serving_path=$fact
    fact "generations.$serving_number.binary.inode"; serving_inode=$fact
    fact "generations.$serving_number.workers.0.pid"; serving_pid=$fact
    find_serving_release
}

# fact KEY: its value in $fact.
fact() {
    fact=${facts#*"$nl$1="}
    if [ "$fact" = "$facts" ]; then fact=''; else fact=${fact%%"$nl"*}; fi
}

# The binary that the incumbent was started from lies in a release; or it is an interpreter that was started in one, or
# that was told to read files below ROOT/current. Paths may differ (in a container), inodes do not.
find_serving_release() {
    case $serving_path in
        */releases/*)
            below=${serving_path##*/releases/}
            inode=$(stat -c %i "$root/releases/$below" 2>/dev/null)
            if [ "$inode" = "$serving_inode" ]; then
                serving_release=${below%%/*}
                return
            fi
            ;;
    esac
    [ -n "$serving_pid" ] || return
    directory=$(readlink "/proc/$serving_pid/cwd" 2>/dev/null)
    case $directory in
        "$root/releases/"*)
            serving_release=${directory#"$root/releases/"}
            serving_release=${serving_release%%/*}
            ;;
        *)
            if tr '\0' '\n' <"/proc/$serving_pid/cmdline" 2>/dev/null | grep -qF -e "$root/current/"; then
                through_current=yes
            fi
            ;;
    esac
}

# Who serves, as the last part of a line, in $who.
describe_serving() {
    case $answered in
        0)
            who="${serving_release:-$serving_path} serves since $(when "$serving_since") (generation $serving_generation)"
            ;;
        1) who="nobody serves at this moment"; fact state; [ -z "$fact" ] || who="$who ($fact)" ;;
        *) who="who serves is not known: ${facts##*"$nl"}" ;;
    esac
    who="$name: $who"
}

# --- the releases ------------------------------------------------------------------------------------------------------

# The release that `current` leads to, in $current; where it points, in $link.
read_current() {
    link='' current=''
    [ -L "$root/current" ] || {
        [ ! -e "$root/current" ] || fail "read $root/current: it is no symlink; move it away"
        return
    }
    link=$(readlink "$root/current")
    case $link in
        releases/*/* | releases/) ;;
        releases/*) current=${link#releases/} ;;
        "$root/releases/"*/*) ;;
        "$root/releases/"?*) current=${link#"$root/releases/"} ;;
    esac
    [ -d "$root/releases/$current" ] || current=''
}

# Names of releases, newest first; what has another form is none of ours and is left alone. One that has .unproven in it
# has never been seen to serve, or was taken back.
releases() {
    for folder in "$root"/releases/[0-9]*-*/; do
        folder=${folder%/}
        folder=${folder##*/}
        case $folder in *[!0-9a-f.-]*) continue ;; esac
        [ -d "$root/releases/$folder" ] && [ ! -L "$root/releases/$folder" ] && printf '%s\n' "$folder"
    done | LC_ALL=C sort -r
}

# The newest proven release before the current one, which itself need not be one, in $previous.
find_previous() {
    previous=$(
        passed=no
        releases | while IFS= read -r folder; do
            # Read to the end all the same: a program that writes into a pipe without a reader says so.
            if [ $passed = yes ] && ! is_unproven "$folder"; then
                printf '%s\n' "$folder"
                passed=told
            fi
            [ "$folder" != "$current" ] || passed=yes
        done
    )
}

# Everything that a process executes or was started in, as device:inode. A deployer who is not root sees only their own
# processes; those that segue supervises are known from its status, too.
look_for_busy() {
    busy=$(stat -L -c %d:%i /proc/[0-9]*/exe /proc/[0-9]*/cwd 2>/dev/null | sort -u)
}

is_busy() {
    case $facts in *"/releases/$1/"*) return 0 ;; esac
    {
        printf '%s\n' "$busy"
        find "$root/releases/$1" -exec stat -c %d:%i {} + | sort -u
    } 2>/dev/null | sort 2>/dev/null | uniq -d 2>/dev/null | grep -q .
}

# remove_release NAME: out of sight first, so that no half release is ever seen.
remove_release() {
    keeper_in "$1"
    kept_image=$keeper
    attempt "remove release $1" mv -T -- "$root/releases/$1" "$root/releases/.gone" &&
        attempt "remove release $1" rm -rf -- "$root/releases/.gone" && let_go "$kept_image" && return
    say "$cause"
}

remove_old_releases() {
    find_previous
    look_for_busy
    kept=0
    for each in $(releases); do
        kept=$((kept + 1))
        [ $kept -gt "$keep" ] || continue
        [ "$each" != "$current" ] && [ "$each" != "$previous" ] || continue
        if is_busy "$each"; then
            say "release $each stays, for a process still runs it"
        else
            remove_release "$each" && say "removed old release $each"
        fi
    done
}

# What an earlier deploy has left that never served. One that a rollback has left behind may be wanted again.
remove_unproven_releases() {
    look_for_busy
    for each in $(releases); do
        is_unproven "$each" && [ "$each" != "$current" ] || continue
        read_mark "$each"
        [ "$why" != "$ROLLED_BACK" ] || continue
        is_busy "$each" || { remove_release "$each" && say "removed release $each, which does not serve"; }
    done
}

# The app may write into its own release: a mark there is neither read nor written through a link that it has made.
is_unproven() { [ -e "$root/releases/$1/.unproven" ] || [ -L "$root/releases/$1/.unproven" ]; }

# read_mark RELEASE: what its mark says, in $why.
read_mark() {
    why=''
    ! is_plain "$root/releases/$1/.unproven" || IFS= read -r why <"$root/releases/$1/.unproven" || :
}

# write_mark RELEASE TEXT. By rename, which replaces a link.
write_mark() { put "$2" "$root/.deploy.work/mark" && mv -T -f -- "$root/.deploy.work/mark" "$root/releases/$1/.unproven"; }

prove() { ! is_unproven "$1" || attempt "trust release $1" rm -f -- "$root/releases/$1/.unproven" || say "$cause"; }

# --- one at a time -----------------------------------------------------------------------------------------------------

append_nothing() { printf '' >>"$1"; }

take_lock() {
    lock=$root/.lock
    [ ! -L "$lock" ] || fail "lock $root: $lock is a symlink; remove it"
    if [ $dry_run = yes ]; then
        [ -e "$lock" ] || return 0
        exec 9<"$lock"
    else
        must "make $root" mkdir -p -- "$root/releases"
        must "open $lock" append_nothing "$lock"
        exec 9>>"$lock"
    fi
    waited=0
    until flock -n 9; do
        IFS= read -r holder <"$lock" || holder=''
        holder_pid=${holder#pid }
        holder_pid=${holder_pid%%,*}
        [ -n "$holder" ] && [ -e "/proc/$holder_pid" ] || holder='one that has just begun or ended'
        [ $waited -lt "$wait_for_lock" ] || fail "lock $root: another deploy is under way: $holder (--wait waits for its end)"
        [ $waited -gt 0 ] || say "waiting for another deploy: $holder"
        sleep 1
        waited=$((waited + 1))
    done
    [ $dry_run = yes ] || printf 'pid %s, %s, since %s: %s\n' $$ "$(id -un 2>/dev/null || id -u)" "$(date -u '+%Y-%m-%d %H:%M:%S UTC')" \
        "$action ${image:-$binary}$release_wanted" >"$lock" 2>/dev/null || :
}

# What a deploy that was killed has left: half-made things go away, an open flip is resolved.
recover() {
    ask
    read_current
    if [ $dry_run = yes ]; then
        [ ! -e "$root/.deploy" ] || say "an earlier deploy was interrupted; a run without --dry-run resolves it first"
        return
    fi
    must "remove what an interrupted deploy has left" rm -rf -- "$root/.deploy.work" "$root/releases/.new" "$root/releases/.gone"
    [ ! -e "$root/.deploy" ] || resolve_flip
    [ -z "$serving_release" ] || [ $answered -ne 0 ] || prove "$serving_release"
    remove_unproven_releases
}

# journal KEY: from the file .deploy.
journal() { sed -n "s/^$1=//p" "$root/.deploy" 2>/dev/null; }

resolve_flip() {
    flip_from=$(journal from) flip_to=$(journal to)
    say "a deploy (pid $(journal pid), $(journal at)) was interrupted or returned before probation had passed"
    waited=0
    while fact state; [ $answered -le 1 ] && [ "$fact" = handing-off ] && [ $waited -lt $RESOLVE_WAIT ]; do
        [ $waited -gt 0 ] || say "its reload is still under way; waiting for that"
        sleep 1
        waited=$((waited + 1))
        ask
    done
    if [ $answered -gt 1 ]; then
        say "it was to flip current from ${flip_from:-nothing} to $flip_to; no supervisor answers, so it is not known whether that has served"
    elif [ -n "$serving_release" ] && [ "releases/$serving_release" = "$flip_to" ]; then
        [ "$link" = "$flip_to" ] || point_current_to "$flip_to"
        say "its release serves: ${flip_to#releases/}"
        [ "$serving_probation" = passed ] || {
            say "its probation has not passed yet: the next run looks again"
            must "remove $root/.deploy.work" rm -rf -- "$root/.deploy.work"
            return
        }
    elif [ "$link" != "$flip_to" ]; then
        say "it had not flipped current, or had flipped it back: $root/current leads to ${link:-nothing}"
    elif [ -n "$serving_release" ]; then
        point_current_to "releases/$serving_release"
        [ "$(journal action)" != deploy ] || [ ! -d "$root/$flip_to" ] ||
            attempt "note the failure" write_mark "${flip_to#releases/}" "did not pass probation" || say "$cause"
        say "its release does not serve; current leads to the one that does again: $serving_release"
    elif [ -n "$flip_from" ] && [ -n "$serving_generation" ] && fact pid &&
        [ "$fact $serving_generation" = "$(journal supervisor) $(journal generation)" ]; then
        point_current_to "$flip_from"
        say "its release does not serve; current leads to $flip_from again"
    else
        say "which release serves cannot be seen from $serving_path; $root/current leads to $link"
    fi
    must "remove $root/.deploy" rm -f -- "$root/.deploy"
    must "remove $root/.deploy.work" rm -rf -- "$root/.deploy.work"
}

point_current_to() {
    must "flip current" make_links "$1" ''
    flip new || fail "$cause"
    read_current
}

# --- interruption ------------------------------------------------------------------------------------------------------

# checks: a signal ends the script at once, and nothing has changed. flip: it is noted and heeded when the steps that
# belong together are done. reload: it is heeded as far as a reload can be (see on_tick).
phase=checks
caught='' caught_count=0 job='' ticker=''

on_signal() {
    caught=$1
    caught_count=$((caught_count + 1))
    [ "$phase" != checks ] || {
        [ -z "$job" ] || kill "$job" 2>/dev/null
        say "interrupted by SIG$caught: nothing was changed"
        exit "$(code_of_signal)"
    }
}

code_of_signal() {
    case $caught in HUP) echo 129 ;; INT) echo 130 ;; *) echo 143 ;; esac
}

clean_up() {
    trap '' HUP INT TERM
    end_preflight
    [ -z "$ticker" ] || kill "$ticker" 2>/dev/null
    [ -z "$work" ] || rm -rf -- "$work" 2>/dev/null
    [ -z "$drafts" ] || rm -rf -- "$drafts" 2>/dev/null
    [ -z "$build" ] || rm -rf -- "$build" 2>/dev/null
    [ -z "$published" ] || rm -rf -- "$published" 2>/dev/null
}
work='' drafts='' build='' published=''

catch_signals() {
    trap 'on_signal HUP' HUP
    trap 'on_signal INT' INT
    trap 'on_signal TERM' TERM
    trap clean_up EXIT
}

open_events() {
    if [ $dry_run = yes ]; then
        work=$(mktemp -d) || fail "make a temporary directory: mktemp failed"
    else
        work=$root/.deploy.work
        must "make $work" mkdir -- "$work"
    fi
    must "make a pipe" mkfifo -- "$work/events"
    exec 8<>"$work/events"
    mark="deploy-$$-event"
}

# follow COMMAND...: runs it in the background, prints what it says as it comes, keeps the last line in $last_words, and
# calls on_tick until it has ended; its status is in $ended. With $coded=yes the lines KEY=VALUE are not shown: they are
# what `segue reload --flat` says for scripts, and kept in $codes.
coded=no
follow() {
    ended='' last_words='' codes=$nl
    (
        child='' stopped=no
        trap '' HUP INT
        trap 'stopped=yes; [ -z "$child" ] || kill "$child" 2>/dev/null' TERM
        "$@" </dev/null >&8 2>&8 8>&- 9>&- &
        child=$!
        [ $stopped = no ] || kill "$child" 2>/dev/null
        wait "$child"
        # The last line may have had no end.
        printf '\n%s end %s\n' "$mark" $? >&8
    ) 9>&- &
    job=$!
    start_ticker
    while [ -z "$ended" ]; do
        IFS= read -r event <&8 || event="$mark tick"
        case $event in
            "$mark end "*) ended=${event##* } ;;
            "$mark tick") on_tick ;;
            '') ;;
            *)
                if [ $coded = yes ] && is_code "$event"; then
                    codes=$codes$event$nl
                else
                    last_words=$event
                    printf '  %s\n' "$event" >&2 || :
                fi
                ;;
        esac
    done
    kill "$ticker" 2>/dev/null
    ticker=''
    wait "$job" 2>/dev/null
    job=''
}

is_code() {
    case $1 in [a-z]*=*) ;; *) return 1 ;; esac
    case ${1%%=*} in *[!a-z0-9_.]*) return 1 ;; esac
}

# code KEY: its value in $code.
code() {
    code=${codes#*"$nl$1="}
    if [ "$code" = "$codes" ]; then code=''; else code=${code%%"$nl"*}; fi
}

# Every second a line, so that the script looks up; it ends with the script, however that ends.
start_ticker() {
    (
        nap=''
        trap '' HUP INT
        trap '[ -z "$nap" ] || kill "$nap" 2>/dev/null; exit' TERM
        while kill -0 $$ 2>/dev/null; do
            sleep 1 8>&- 9>&- &
            nap=$!
            wait "$nap"
            printf '\n%s tick\n' "$mark" >&8
        done
    ) 9>&- &
    ticker=$!
}

# At each of these lines.
on_tick() { [ $phase != reload ] || on_reload_tick; }

# --- deploy ------------------------------------------------------------------------------------------------------------

find_root() {
    root=${root:-/srv/$name}
    case $root in *"$nl"*) fail "use $name as root: a line end in a path" ;; esac
    [ -d "$root" ] || {
        parent=$(dirname -- "$root")
        parent=$(cd -- "$parent" 2>/dev/null && pwd -P) || fail "use $root: the directory it lies in does not exist"
        root=${parent%/}/$(basename -- "$root")
        return
    }
    root=$(cd -- "$root" && pwd -P) || fail "use $root: cannot enter it"
}

check_supervisor() {
    [ $answered -ne 126 ] && [ $answered -ne 127 ] || fail "ask who serves: cannot run $segue; is it in PATH? (--segue, or the variable SEGUE)" 1
    [ $answered -ne 2 ] || fail "ask who serves: ${facts#segue: }" 2
    if [ $answered -gt 1 ]; then
        [ $reload = no ] ||
            fail "ask who serves: ${facts#segue: }; nothing was changed (before the service has been started, deploy with --no-reload)" 3
        return
    fi
    fact state
    [ "$fact" != stopping ] || fail "ask who serves: the supervisor is stopping; nothing was changed"
}

# The reload would start again what its command leads to: a forgotten --root is told before.
check_root() {
    [ $reload = yes ] && [ $force = no ] && [ $answered -eq 0 ] && [ -z "$serving_release" ] && [ $through_current = no ] || return 0
    case $serving_path in "$root/releases/"* | "$root/current/"*) return 0 ;; esac
    # By something that is no release, but lies where current leads.
    [ "$(stat -L -c %i -- "$root/current/${entry:-$name}" 2>/dev/null)" != "$serving_inode" ] || return 0
    fail "ask who serves: generation $serving_generation runs $serving_path, which is not $root/current/${entry:-$name}; what is the command of segue run? Nothing was changed (--root says where the releases are; --force deploys all the same)"
}

already_serves() {
    [ $force = no ] && [ $answered -eq 0 ] && [ -n "$current" ] && [ "$serving_release" = "$current" ] || return
    if [ -n "$entry" ]; then there=$root/releases/$current; else there=$root/releases/$current/$name; fi
    [ -e "$there" ] && [ ! -L "$there" ] && [ "$(sha_of "$there")" = "$sha" ]
}

# A name behind that of every other release, even if two are made in a second or the clock was set back.
choose_release_name() {
    stamp=$(date -u +%Y%m%d-%H%M%S)
    newest=$(releases | head -n 1)
    newest=${newest%-*}
    if [ -n "$newest" ] && [ "$(printf '%s\n%s\n' "$stamp" "$newest" | LC_ALL=C sort | tail -n 1)" = "$newest" ]; then
        case $newest in
            *.[0-9][0-9]) stamp=${newest%.*} count=${newest##*.} count=$((${count#0} + 1)) ;;
            *) stamp=$newest count=1 ;;
        esac
        [ "$count" -le 99 ] || fail "name the release: too many since $stamp; is the clock right?"
        stamp=$stamp.$(printf %02d "$count")
    fi
    release=$stamp-$(printf %.8s "$sha")
}

build_release() {
    build=$root/releases/.new
    must "make $build" mkdir -- "$build"
    if [ -n "$entry" ]; then
        must "copy $binary to $build" cp -R -P -- "$binary/." "$build/"
        must "remove an old mark" rm -rf -- "$build/.unproven"
        must "set modes in $build" find "$build" \( -type f -o -type d \) -exec chmod u+rwX,go+rX {} +
        # As it was copied: the source may have changed since it was looked at.
        check_inside "$build" "$entry"
        must "set the mode of $entry" chmod 0755 "$build/$entry"
        copy=$build
    else
        must "copy $binary to $build/$name" cp -- "$binary" "$build/$name"
        must "set the mode of $build/$name" chmod 0755 "$build/$name"
        copy=$build/$name
    fi
    size_copied=$(size_of "$copy")
    [ "$size_copied" = "$size" ] || fail "copy $binary: $size_copied bytes arrived instead of $size; did it change meanwhile?"
    sha_copied=$(sha_of "$copy")
    [ "$sha_copied" = "$sha" ] || fail "copy $binary: another SHA-256 arrived; did it change meanwhile?"
    must "write $build/.unproven" put "never served" "$build/.unproven"
    must "sync $build" find "$build" \( -type f -o -type d \) -exec sync {} +
    say "copied $size bytes, SHA-256 $sha"
}

end_preflight() {
    [ -n "$image" ] && [ -n "${SEGUE_PREFLIGHT:-}" ] || return 0
    with_engine ps --all --quiet --filter "label=segue-preflight=$SEGUE_PREFLIGHT" 2>/dev/null | while read -r container; do
        with_engine kill --signal=KILL "$container" </dev/null >/dev/null 2>&1 || :
        with_engine rm --force "$container" </dev/null >/dev/null 2>&1 || :
    done
    unset SEGUE_PREFLIGHT
}

run_preflight() {
    [ $preflight = yes ] || return 0
    preflight_program=$1
    say "preflight: ${entry:-$name} $preflight_arguments"
    set -f
    # shellcheck disable=SC2086  # Split at spaces, as the help says.
    set -- $preflight_arguments
    set +f
    # A container outlives the podman that is killed for its time: it is known by this label.
    preflight_label=$$-$(date +%s)
    [ -z "$image" ] || export SEGUE_PREFLIGHT="$preflight_label"
    follow timeout -k 5 "$preflight_timeout" "$preflight_program" "$@"
    end_preflight
    case $ended in
        0) ;;
        124 | 137) fail "preflight ${entry:-$name} $preflight_arguments: not done within $preflight_timeout s" ;;
        *) fail "preflight ${entry:-$name} $preflight_arguments: exited with status $ended${last_words:+; its last words: \"$last_words\"}" ;;
    esac
}

publish_release() {
    must "name the release $release" mv -T -- "$build" "$root/releases/$release"
    build='' published=$root/releases/$release
    must "sync $root/releases" sync "$root/releases"
}

# make_links TO BACK: both symlinks, made beforehand: a rename needs no space on the disk, so that the way back is safe.
make_links() {
    mkdir -p -- "$root/.deploy.work" && rm -f -- "$root/.deploy.work/new" "$root/.deploy.work/back" || return
    ln -s -- "$1" "$root/.deploy.work/new" || return
    [ -z "$2" ] || ln -s -- "$2" "$root/.deploy.work/back"
}

# flip new|back
flip() {
    if [ "$1" = back ] && [ -z "$link" ]; then
        attempt "remove $root/current" rm -f -- "$root/current" || return
    else
        attempt "flip $root/current" mv -T -- "$root/.deploy.work/$1" "$root/current" || return
    fi
    attempt "sync $root" sync "$root"
}

write_journal() {
    fact pid
    attempt "write $root/.deploy" put \
        "action=$action${nl}from=$link${nl}to=releases/$release${nl}supervisor=$fact${nl}generation=$serving_generation${nl}pid=$$${nl}at=$(date -u '+%Y-%m-%d %H:%M:%S UTC')" \
        "$work/journal" &&
        attempt "write $root/.deploy" sync "$work/journal" &&
        attempt "write $root/.deploy" mv -T -- "$work/journal" "$root/.deploy" &&
        attempt "sync $root" sync "$root"
}

remove_journal() {
    attempt "remove $root/.deploy" rm -f -- "$root/.deploy" && attempt "sync $root" sync "$root" || say "$cause"
}

# Points current to releases/$release; all of it or nothing.
flip_forward() {
    phase=flip
    fact last_reload.at; last_reload_at=$fact
    since_at_flip=$serving_since
    attempt "make links in $work" make_links "releases/$release" "$link" && write_journal && flip new && [ -z "$caught" ] && return
    problem=${caught:+interrupted by SIG$caught}
    problem=${problem:-$cause}
    # The rename may have been the last thing that worked.
    take_back_flip || fail "$problem; and $cause"
    [ -z "$caught" ] || { say "$problem: nothing was changed"; exit "$(code_of_signal)"; }
    fail "$problem; nothing was changed"
}

take_back_flip() {
    if [ "$(readlink "$root/current" 2>/dev/null)" != "$link" ]; then flip back || return; fi
    remove_journal
}

# --- the reload --------------------------------------------------------------------------------------------------------

gave_up=''

# Each second of it.
on_reload_tick() {
    [ -z "$gave_up" ] || return 0
    [ -z "$caught" ] || heed_signal
}

# A reload cannot be taken back. So the first signal ends the waiting only if the outcome of the handoff is known.
heed_signal() {
    ask
    if [ "$serving_release" = "$release" ] || [ "$caught_count" -gt 1 ]; then
        gave_up=signal
        kill "$job" 2>/dev/null
    elif [ "${told:-no}" = no ]; then
        told=yes
        say "interrupted by SIG$caught: a reload cannot be taken back; waiting for its takeover or failure (a second signal leaves at once)"
    fi
}

reload() {
    phase=reload
    set -- reload --flat --timeout "$timeout"
    [ $settle = no ] || set -- "$@" --settled
    say "reloading: segue $*"
    coded=yes
    follow with_target exec_segue "$@"
    coded=no
    phase=flip
    code outcome; outcome=$code
    code probation; probation=$code
    code generation; generation=$code
    code reason; reason=$code
    last_lines=$(printf '%s' "$codes" | sed -n 's/^last_lines\.[0-9]*=//p')
}

# What the version that failed wrote to its stderr at last, as far as segue can tell.
show_last_lines() {
    [ -n "$last_lines" ] || return 0
    say "what it said at last:"
    printf '%s\n' "$last_lines" | sed 's/^/  | /' >&2 || :
    last_lines=''
}

conclude() {
    tries=1
    learn_outcome
    case "$outcome $probation" in
        'ok '*) succeed ;;
        # Segue knows no good one to go back to, and starts the new one again and again.
        'failed not-passed') return_to_old "$(failure_in_words)" ;;
        *) take_back "$(failure_in_words)" ;;
    esac
}

failure_in_words() {
    failure="${generation:+generation $generation: }${reason:-no reason was told}"
    case "$outcome $probation" in
        'failed not-passed') failure="$failure; no version has passed probation yet" ;;
        rolled-back*) failure="rolled back: $failure" ;;
    esac
    printf '%s\n' "$failure"
}

# The codes that the reload ended with, or what the status tells, in $outcome, $probation, $generation and $reason.
learn_outcome() {
    [ "$gave_up" != signal ] || { ask; leave_early; }
    case "$outcome $ended" in
        'failed '* | 'rolled-back '*) ask; return ;;
        'timed-out '*) ask; leave_unknown ;;
        # Nothing was asked for.
        'refused '* | 'ambiguous '* | ' 2' | ' 126' | ' 127')
            ask
            outcome=failed probation=not-reached reason=${last_words#segue: }
            return
            ;;
        'ok '*)
            ask
            # It may have been rolled back since.
            if [ $answered -eq 0 ] && runs_release && { [ $settle = no ] || [ "$probation" = passed ]; }; then return; fi
            ;;
    esac
    await_outcome
}

# The supervisor was killed, say, and comes back: its successor goes on with what was under way. So the status tells in the
# end what has become of the reload.
await_outcome() {
    seconds_of "$timeout"
    read_uptime
    patience=$seconds began=$uptime away_since='' restarts_seen=''
    while :; do
        ask
        read_uptime
        if [ $answered -le 1 ] && read_outcome; then return; fi
        if [ $answered -eq 0 ]; then
            away_since=''
        elif [ -z "$away_since" ]; then
            away_since=$uptime
            say "$(absence); waiting up to $supervisor_timeout s for that to change"
        fi
        [ -z "$caught" ] || heed_signal
        [ "$gave_up" != signal ] || leave_early
        [ -z "$away_since" ] || [ $((uptime - away_since)) -lt "$supervisor_timeout" ] || give_up_waiting
        [ -z "$patience" ] || [ $((uptime - began)) -lt "$patience" ] || { last_words="no outcome within $timeout"; leave_unknown; }
        sleep 1
    done
}

absence() {
    if [ $answered -gt 1 ]; then echo "no supervisor answers"; else echo "nobody serves"; fi
}

# read_outcome: from the status; fails as long as it is still to come.
read_outcome() {
    fact state
    case $fact in handing-off | starting | stopping) return 1 ;; esac
    fact last_reload.generation; told_generation=$fact
    fact last_reload.outcome; told_outcome=$fact
    fact last_reload.reason; told_reason=$fact
    fact last_reload.at
    last_lines=''
    [ "$fact" = "$last_reload_at" ] || [ "$told_outcome" = ok ] ||
        last_lines=$(printf '%s' "$facts" | sed -n 's/^last_reload\.last_lines\.[0-9]*=//p')
    if [ "$fact" != "$last_reload_at" ] && [ "$told_outcome" != ok ] && [ "$serving_release" != "$release" ] &&
        [ "$told_generation" != "$serving_generation" ]; then
        outcome=$told_outcome probation=not-reached generation=$told_generation reason=$told_reason
    elif runs_release; then
        generation=$serving_generation probation=$serving_probation
        has_crashed || { [ $answered -eq 0 ] && { [ $settle = no ] || [ "$probation" = passed ]; } || return; outcome=ok; }
    elif [ "$fact" != "$last_reload_at" ] && [ "$told_generation" = "$generation" ]; then
        # It went well, and what serves is no release of ours.
        outcome=ok
    elif [ "$fact" != "$last_reload_at" ]; then
        outcome=failed probation=not-reached generation='' reason="another reload came between: generation $told_generation took over"
    elif [ $answered -ne 0 ]; then
        return 1
    elif [ $tries -lt $RELOAD_TRIES ]; then
        tries=$((tries + 1))
        say "the supervisor has not taken the reload; asking again"
        reload
        learn_outcome
    else
        outcome=failed probation=not-reached generation='' reason="no supervisor has taken the reload, $tries times"
    fi
}

# The release crashes in its probation, and nothing can be rolled back to.
has_crashed() {
    fact restarts
    restarts_seen=${restarts_seen:-$fact}
    [ "$probation" = running ] || return
    if [ "$told_generation $told_outcome" = "$generation failed" ]; then
        reason=$told_reason
    elif fact state && [ "$fact" = backing-off ] || { fact restarts && [ "$fact" -gt "$restarts_seen" ]; }; then
        reason='it crashed, and is started again'
    else
        return 1
    fi
    outcome=failed probation=not-passed
}

# Nobody has served for too long.
give_up_waiting() {
    [ $answered -le 1 ] || leave_without_supervisor
    return_to_old "nobody has served for $supervisor_timeout s"
}

# leave_without_supervisor: the next supervisor goes on with what still runs; nobody does with what has ended.
leave_without_supervisor() {
    published=''
    open="no supervisor has come back within $supervisor_timeout s, so that the outcome of the reload is not known; run deploy.sh again to resolve it"
    facts=''
    look_for_busy
    if any_lives; then fail "reload: $open: processes of the app still run, and current leads to $release" 4; fi
    flip back || fail "reload: $open: nothing of the app runs any more; and $cause: current still leads to $release" 4
    fail "reload: $open: nothing of the app runs any more, and current leads to ${link:-nothing} again" 4
}

# A process of the last status, or one that runs a file of the release.
any_lives() {
    ! is_busy "$release" || return 0
    for each in $(printf '%s\n' "$last_facts" | sed -n 's/^generations\.[0-9]*\.workers\.[0-9]*\.pid=//p'); do
        [ ! -e "/proc/$each" ] || return 0
    done
    return 1
}

# Seconds since the machine started, in $uptime: nobody sets that clock.
read_uptime() { IFS=' .' read -r uptime _ </proc/uptime; }

# seconds_of DURATION: rounded up, in $seconds; nothing for `none`.
seconds_of() {
    seconds='' rest=$1
    [ "$rest" != none ] || return 0
    seconds=0
    while [ -n "$rest" ]; do
        count=${rest%%[!0-9]*}
        rest=${rest#"$count"}
        count=${count#"${count%%[!0]*}"}
        case $rest in
            ms*) seconds=$((seconds + (${count:-0} + 999) / 1000)) rest=${rest#m} ;;
            h*) seconds=$((seconds + ${count:-0} * 3600)) ;;
            m*) seconds=$((seconds + ${count:-0} * 60)) ;;
            *) seconds=$((seconds + ${count:-0})) ;;
        esac
        rest=${rest#?}
    done
}

# What runs is what was deployed; by an interpreter, what has been started since the flip.
runs_release() { [ "$serving_release" = "$release" ] || { [ $through_current = yes ] && [ "$serving_since" != "$since_at_flip" ]; }; }

# A rollback started an interpreter with what current leads to, which is not what it was.
rolled_back_in_vain() {
    [ "$outcome" = rolled-back ] || return
    fact "generations.$serving_number.replaced"
    [ -n "$fact" ]
}

succeed() {
    runs_release || {
        take_back "generation $serving_generation runs $serving_path, which is not $root/current/${entry:-$name}; what is the command of segue run?"
    }
    case $probation in
        passed)
            end_of_wait='probation passed'
            prove "$release"
            remove_journal
            ;;
        # The next run resolves it.
        *) end_of_wait='probation not waited for' ;;
    esac
    read_current
    [ $action = deploy ] || withdraw
    remove_old_releases
    let_go_of_rest
    fact last_reload.generation
    took=''
    [ "$fact" != "$serving_generation" ] || { fact last_reload.duration_ms; took="switched in $fact ms, "; }
    published=''
    printf '%s: %s serves since %s (generation %s, %s%s)\n' "$name" "$release" "$(when "$serving_since")" "$serving_generation" "$took" "$end_of_wait" || :
    exit 0
}

# The release that was rolled back from is no good one any more.
withdraw() {
    [ -z "$old_release" ] || [ ! -d "$root/releases/$old_release" ] ||
        attempt "withdraw release $old_release" write_mark "$old_release" "$ROLLED_BACK" || say "$cause"
}

# take_back REASON: current leads to the release that serves.
take_back() {
    reason=$1
    show_last_lines
    ! rolled_back_in_vain || return_to_old "$reason; the rollback could not bring $fact back"
    await_server
    [ $answered -le 1 ] || leave_without_supervisor
    ! rolled_back_in_vain || return_to_old "$reason; the rollback could not bring $fact back"
    note_failure
    if [ "$serving_release" = "$release" ]; then
        published=''
        describe_serving
        fail "reload: $reason; $who; current leads to it"
    fi
    back=$link
    if [ $answered -le 1 ] && [ -n "$serving_release" ] && [ "releases/$serving_release" != "$link" ]; then
        # Not the release before, but the last good one.
        attempt "make links" make_links "$link" "releases/$serving_release" && back="releases/$serving_release"
    fi
    flip back || { published=''; describe_serving; fail "reload: $reason; $who; and $cause: current still leads to $release"; }
    remove_journal
    published=''
    describe_serving
    back=${back:-nothing}
    [ "$back" != "releases/$serving_release" ] || back=it
    fail "reload: $reason; $who; current leads to $back again"
}

# Until somebody serves; for a while.
await_server() {
    waited=0
    while [ $answered -eq 1 ] && [ $waited -lt $RETURN_WAIT ] || { [ $answered -gt 1 ] && [ $waited -lt "$supervisor_timeout" ]; }; do
        sleep 1
        waited=$((waited + 1))
        ask
    done
}

# The failed release stays until the next run, for those who want to look at it.
note_failure() {
    [ $action = deploy ] || return 0
    attempt "note the failure" write_mark "$release" "$reason" || :
}

# return_to_old REASON: nobody serves, and Segue has nothing to go back to. We have.
return_to_old() {
    reason=$1
    show_last_lines
    [ -n "$link" ] || {
        published=''
        describe_serving
        fail "reload: $reason; $who; there is no release before it"
    }
    say "$reason; going back to $link with a second reload"
    flip back || { published=''; describe_serving; fail "reload: $reason; $who; and $cause"; }
    gave_up='' settle=no tries=0 first_reason=$reason
    while [ $tries -lt $RELOAD_TRIES ]; do
        tries=$((tries + 1))
        reload
        ask
        await_server
        # A supervisor that was killed may not have heard of it.
        case $outcome in ok | failed | rolled-back | refused | timed-out) break ;; esac
        runs_release || [ $answered -ne 0 ] || break
    done
    reason=$first_reason
    [ $answered -le 1 ] || leave_without_supervisor
    note_failure
    remove_journal
    published=''
    describe_serving
    fail "reload: $reason; after a second reload: $who; current leads to $link again"
}

leave_early() {
    published=''
    describe_serving
    if [ "$serving_release" = "$release" ]; then
        say "interrupted by SIG$caught: $who; probation has not been waited for"
    else
        say "interrupted by SIG$caught: $who; the reload goes on, and current leads to $release, which does not serve yet; run deploy.sh again to resolve it"
    fi
    exit "$(code_of_signal)"
}

leave_unknown() {
    published=''
    describe_serving
    if [ "$serving_release" = "$release" ]; then
        fail "reload: ${last_words#segue: }: $who; probation has not passed yet" 4
    fi
    fail "reload: ${last_words#segue: }: $who; current leads to $release, which does not serve yet; run deploy.sh again to resolve it" 4
}

# --- the commands ------------------------------------------------------------------------------------------------------

begin() {
    find_root
    # Before anything is made, and again when nobody else can change it.
    ask
    check_supervisor
    check_root
    catch_signals
    take_lock
    recover
    check_supervisor
    read_current
    old_release=$current
    [ $dry_run = yes ] && [ $preflight = no ] || open_events
}

go() {
    flip_forward
    say "flipped current from ${link:-nothing} to releases/$release"
    if [ $reload = no ]; then finish_without_reload; fi
    reload
    conclude
}

finish_without_reload() {
    remove_journal
    published=''
    ask
    if [ $answered -le 1 ]; then
        describe_serving
        printf '%s; current leads to %s, which the next reload starts: segue reload %s\n' "$who" "$release" "$(with_target echo)" || :
    else
        printf '%s: %s is in place and nobody serves; start it with a command like: segue run --listen 8080 --name %s -- %s\n' \
            "$name" "$release" "$name" "$(quote "$root/current/${entry:-$name}")" || :
    fi
    exit 0
}

deploy() {
    [ -z "$image" ] || { find_root && write_starter; }
    check_source
    size=$(size_of "$binary")
    sha=$(sha_of "$binary")
    [ ${#sha} -eq 64 ] || fail "read $binary: it cannot be read whole"
    [ -z "$expected_sha" ] || [ "$sha" = "$expected_sha" ] || fail "check $binary: its SHA-256 is $sha, not the expected $expected_sha"
    begin
    if already_serves; then
        describe_serving
        printf '%s; %s already serves, nothing to do (--force deploys it anyway)\n' "$who" "$(printf %.8s "$sha")" || :
        exit 0
    fi
    choose_release_name
    if [ $dry_run = yes ]; then rehearse; fi
    build_release
    run_preflight "$build/${entry:-$name}"
    publish_release
    [ -z "$image" ] || keep_image
    go
}

rollback() {
    begin
    if [ -z "$release_wanted" ]; then
        [ -n "$current" ] || fail "roll back: there is no current release in $root"
        find_previous
        [ -n "$previous" ] || fail "roll back: there is no good release before $current"
        release_wanted=$previous
    fi
    [ -d "$root/releases/$release_wanted" ] && [ ! -L "$root/releases/$release_wanted" ] ||
        fail "roll back: there is no release $release_wanted in $root"
    release=$release_wanted
    check_image_of "$release"
    [ ! -e "$root/releases/$release/${entry:-$name}" ] || check_inside "$root/releases/$release" "${entry:-$name}"
    say "going back from ${current:-nothing} to $release"
    if [ $dry_run = yes ]; then
        say "would flip current to releases/$release and reload"
        exit 0
    fi
    go
}

rehearse() {
    if [ $preflight = yes ]; then
        program=$binary${entry:+/$entry}
        case $program in /*) ;; *) program=./$program ;; esac
        if [ -x "$program" ]; then run_preflight "$program"; else say "preflight: not run, for $program is not executable; the copy would be"; fi
    fi
    place=$root
    while [ ! -e "$place" ]; do place=$(dirname -- "$place"); done
    [ -w "$place" ] || fail "write to $place: permission denied or read-only"
    free=$(df -P -k -- "$place" | awk 'NR == 2 { print $4 }')
    [ "${free:-0}" -ge $((size / 1024 + 1)) ] || fail "copy $binary to $root: $size bytes, but only ${free:-0} KiB are free"
    say "would copy $size bytes to $root/releases/$release"
    [ $reload = no ] || say "would flip current from ${link:-nothing} to releases/$release and reload"
    describe_serving
    printf '%s; dry run: nothing was changed\n' "$who" || :
    exit 0
}

list() {
    find_root
    ask
    read_current
    releases | while IFS= read -r release; do
        notes=''
        [ "$release" != "$current" ] || notes=' current'
        [ "$release" != "$serving_release" ] || [ $answered -ne 0 ] || notes="$notes, serves (generation $serving_generation)"
        if is_unproven "$release"; then
            read_mark "$release"
            [ "$release" = "$serving_release" ] || notes="$notes, ${why:-never served}"
        fi
        keeper_in "$release"
        [ -z "$keeper" ] || notes="$notes, image ${keeper##*:}"
        if is_plain "$root/releases/$release/$name"; then size=$(size_of "$root/releases/$release/$name"); else size=$(size_of "$root/releases/$release"); fi
        day=${release%%-*} hour=${release#*-}
        hour=${hour%%[.-]*}
        time="$(printf '%.4s-%.2s-%.2s' "$day" "${day#????}" "${day#??????}") $(printf '%.2s:%.2s:%.2s' "$hour" "${hour#??}" "${hour#????}") UTC"
        notes=${notes# }
        printf '%-28s  %s  %s  %10s bytes  %s\n' "$release" "$time" "${release##*-}" "$size" "${notes#, }"
    done
}

# --- other machines ----------------------------------------------------------------------------------------------------

remotely() {
    if [ $action = deploy ]; then
        [ -e "$binary" ] || [ $binary_given = no ] || fail "check $binary: no such file"
        [ -n "$entry$image" ] || [ ! -d "$binary" ] || fail "check $binary: it is a directory; say which executable in it with --entry PATH"
    fi
    case ${root:-/} in /*) ;; *) misused "--root: with --host it must start with /, got $root" ;; esac
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

# The same bytes for every host, whatever becomes of the file meanwhile.
pack() {
    must "make $work/payload" mkdir -p -- "$work/payload"
    must "copy this script" cp -- "$0" "$work/deploy.sh"
    payload=''
    # An image comes to the host by podman.
    if [ $action = deploy ] && [ $binary_given = yes ]; then
        payload=$name
        if [ -n "$entry$image" ]; then
            must "copy $binary" cp -R -- "$binary/." "$work/payload/$payload"
        else
            must "copy $binary" cp -- "$binary" "$work/payload/$payload"
        fi
    fi
    must "pack $binary" tar -cf "$work/tar" -C "$work" deploy.sh payload
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
    script="$script$passed_on --name $(quote "$name")"
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

read_arguments "$@"
check_arguments
for tool in flock mkfifo od sha256sum stat timeout; do
    command -v $tool >/dev/null || fail "find $tool: it is not installed (coreutils, util-linux or busybox have it)"
done
if [ -n "$hosts" ]; then remotely; fi
case $action in
    deploy) deploy ;;
    rollback) rollback ;;
    list) list ;;
esac
