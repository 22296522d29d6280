# The names of what a release consists of; read with `.` by the scripts beside it, which have set $top and $target. docs/install.md
# and .github/workflows/release.yml use the same ones, and a test compares.
# shellcheck shell=sh disable=SC2034,SC2154

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$top/Cargo.toml" | head -n 1)
# Of the Debian package; it grows when the package changes and Segue does not.
revision=${REVISION:-1}

case $target in
    x86_64-unknown-linux-gnu) machine=x86_64 architecture=amd64 ;;
    aarch64-unknown-linux-gnu) machine=aarch64 architecture=arm64 ;;
    *)
        echo "${0##*/}: $target: packages are for x86_64-unknown-linux-gnu and aarch64-unknown-linux-gnu" >&2
        exit 2
        ;;
esac
tarball=segue-$version-$machine-linux.tar.gz
package=segue_$version-${revision}_$architecture.deb
checksums=SHA256SUMS
