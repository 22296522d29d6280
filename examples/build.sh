#!/bin/sh
# For the other scripts here: build the programs, or say what is missing. Sourced, not run.

# Say where a Rust toolchain comes from, by the names of this distribution, and end with status 1.
explain_toolchain() {
    # shellcheck disable=SC1091 # a file of the machine
    family=$(. /etc/os-release 2>/dev/null && echo "${ID:-} ${ID_LIKE:-}")
    {
        echo "This needs a Rust toolchain (rustc and cargo, $1 or later) and a C linker, and finds ${2:-none}."
        case " $family " in
            *" debian "* | *" ubuntu "*)
                echo "  sudo apt-get install gcc libc6-dev rustup && rustup default stable"
                echo "rustup is a package from Debian 13 and Ubuntu 24.04 on; before that: https://rustup.rs" ;;
            *" fedora "* | *" rhel "*)
                echo "  sudo dnf install gcc rustup && rustup-init -y" ;;
            *" arch "*)
                echo "  sudo pacman -S gcc rustup && rustup default stable" ;;
            *" alpine "*)
                echo "  sudo apk add gcc musl-dev rustup && rustup-init -y" ;;
            *" suse "* | *" opensuse "*)
                echo "  sudo zypper install gcc rustup && rustup default stable" ;;
            *)
                echo "  https://rustup.rs" ;;
        esac
    } >&2
    exit 1
}

# Build segue, segue-poll and app of the project in directory $1. They are in $target/debug then.
build_programs() {
    needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$1/Cargo.toml")
    command -v cargo >/dev/null || explain_toolchain "$needed" ""
    found=$(rustc --version 2>/dev/null | cut -d ' ' -f 2)
    newest=$(printf '%s\n%s\n' "$needed" "$found" | sort -V | tail -n 1)
    [ "$newest" = "$found" ] || explain_toolchain "$needed" "${found:-none}"
    (cd "$1" && cargo build --locked --package segue --package segue-app --bins) || exit 1
    # shellcheck disable=SC2034 # read by the script that sources this
    target=$(cd "$1" && cargo metadata --locked --format-version 1 --no-deps |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
}
