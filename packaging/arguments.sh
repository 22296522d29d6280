# The command line of the scripts beside it that pack programs; read with `.`, with the arguments of the script. It sets $target,
# $completions, $binaries and $out, and `fail MESSAGE [STATUS]`.
# shellcheck shell=sh disable=SC2034

script=${0##*/}

fail() {
    echo "$script: $1" >&2
    exit "${2:-1}"
}

target=$(uname -m)-unknown-linux-gnu completions=
while [ $# -gt 2 ]; do
    case $1 in
        --target) target=$2 ;;
        --completions) completions=$2 ;;
        *) fail "unknown option $1" 2 ;;
    esac
    shift 2
done
[ $# -eq 2 ] || fail "usage: $script [--target TRIPLE] [--completions DIRECTORY] BINARIES OUT" 2
binaries=$1 out=$2
