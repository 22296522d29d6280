#!/usr/bin/env bash
# Checks the Ansible collection, the manifests, and a fleet of real hosts. `tests/setup.sh ansible` installs what it needs.
#
# usage: fleet/check.sh NAME...
#        fleet/check.sh --list     the scenes
#
#   build      the collection's archive, as for Galaxy; below target/fleet
#   unit       tests of the modules, against stand-ins and against a real segue (seconds)
#   sanity     ansible-test sanity, with its own tools from the package registry (minutes)
#   manifests  those for Kubernetes, by the schemas of its API, and each command line in them by segue (seconds)
#   cost       what a deploy costs at 2, 8 and 32 hosts, beside ping (root; minutes)
#   hosts      rolling deploys over eight machines with a systemd and an sshd each, behind HAProxy (root; most of an hour)
#   oldest     some of them with the ansible-core of Debian 12, from /usr/bin
#
# Any other name is that of a scene of `hosts`, or a part of it: bad-everywhere, killed-at-each-task. Those that are named share one
# fleet. Each scene has a deadline, and whatever becomes of a run, also one that is interrupted or killed, none of its processes,
# namespaces and mounts stays.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
tools=$target/test-tools/ansible
work=$target/fleet
export PYTHONDONTWRITEBYTECODE=1

# The collection where Ansible looks for one. A link would do for its programs; ansible-test wants files.
lay_out() {
    place=$work/ansible_collections/segue/fleet
    rm -rf "$place"
    mkdir -p "$place"
    cp -R fleet/ansible/. "$place"
    export ANSIBLE_COLLECTIONS_PATH=$work ANSIBLE_HOME=$work/home
}

build() {
    "$tools/bin/ansible-galaxy" collection build --force --output-path "$work" "$place"
}

unit() {
    cargo build --quiet --locked -p segue
    (cd "$place" && SEGUE=$target/debug/segue PYTHONPATH=$work "$tools/bin/pytest" -p no:cacheprovider -q tests/unit)
}

sanity() {
    # It asks git for the files, and keeps its environments among them.
    printf '/tests/output\n' >"$place/.gitignore"
    git -C "$place" init -q
    git -C "$place" add -A
    local home=$work/home
    mkdir -p "$home/.ansible/test/cache"
    # The version of its name is the one that this ansible-test asks for.
    cp fleet/bootstrap-pip.py "$home/.ansible/test/cache/get_pip_24_2.py"
    # It plays tests with each Python that it finds by name. Wrappers that choose a version (pyenv) are named like all of them.
    local python path
    python=$(dirname "$(realpath "$tools/bin/python3")")
    path=$tools/bin:$python:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
    (cd "$place" && HOME=$home PATH=$path ansible-test sanity --venv --color no)
}

manifests() {
    cargo build --quiet --locked -p segue
    "$tools/bin/kubernetes-validate" --strict fleet/kubernetes/*.yaml
    "$tools/bin/python3" fleet/manifests.py "$target/debug/segue"
}

# Run something as the first process of a pid namespace, with mounts of its own: with it ends all that it has started. If this
# script is killed it is told so by SIGTERM, and removes what it has made.
contained() {
    setpriv --pdeathsig KILL unshare --pid --fork --kill-child=TERM --mount-proc \
        env CARGO_TARGET_DIR="$target" "$@"
}

cost() {
    cargo build --locked -p segue -p segue-app --bins
    contained "$tools/bin/python3" fleet/hosts/cost.py
}

# What is installed on the hosts, built from the programs of this checkout.
package() {
    [ -z "${is_packed:-}" ] || return 0
    cargo build --locked -p segue -p segue-app --bins
    rm -rf "$work/packages"
    packaging/deb.sh "$target/debug" "$work/packages" >/dev/null
    is_packed=yes
}

# hosts [OPTION...]: the scenes, or those that options of pytest pick.
hosts() {
    package
    contained "$tools/bin/pytest" -p no:cacheprovider -v -s --durations=0 fleet/hosts "$@"
}

scenes() { sed -n 's/^def test_\([a-z0-9_]*\)(fleet.*/\1/p' fleet/hosts/test_*.py | tr _ -; }

# With the oldest Ansible that the collection supports, Debian 12's.
oldest() { ANSIBLE_PROGRAMS=/usr/bin hosts -k 'five or fifth or down'; }

[ $# -gt 0 ] || {
    sed -n '/^# usage/,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
}
[ "$1" != --list ] || {
    scenes
    exit
}
for name in "$@"; do
    case $name in
        build | unit | sanity | manifests | cost | hosts | oldest) ;;
        *)
            scenes | grep -qF -- "$name" || {
                echo "check.sh: $name: there is no such check and no such scene; --list prints the scenes" >&2
                exit 2
            }
            ;;
    esac
done
lay_out
# Scenes that are named share one fleet.
wanted=
for name in "$@"; do
    case $name in
        build | unit | sanity | manifests | cost | hosts | oldest) "$name" ;;
        *) wanted="${wanted:+$wanted or }${name//-/_}" ;;
    esac
done
[ -z "$wanted" ] || hosts -k "$wanted"
