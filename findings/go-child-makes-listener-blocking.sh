#!/usr/bin/env bash
# Go: to start a child with a listener turns the parent's own listener to blocking.
#
# Software: Go as installed (seen with 1.19.8).
# Guess:    TCPListener.File() returns a duplicate, and its documentation says that closing the one
#           does not affect the other. So `exec.Cmd` with that file in ExtraFiles leaves the parent's
#           listener alone.
# Seen:     File() changes nothing, but Start() takes the number of the file by Fd(), which clears
#           O_NONBLOCK. The flag belongs to the open file description, so the parent's listener and
#           that of every other process that has it lose it, too.
# So:       A Go program that hands its listener to a successor puts its own accept loop on a blocking
#           socket, and so it does with the event loop of each process that shares the listener.
#           Who hands on a listener has to look at the flag afterwards.
#
# Needs go. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool is missing.
set -euo pipefail
command -v go >/dev/null || { echo "missing: go"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go version

cat >"$work/main.go" <<'GO'
package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	check(err)
	raw, err := listener.SyscallConn()
	check(err)
	show := func(when string) {
		check(raw.Control(func(fd uintptr) {
			flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_GETFL, 0)
			if errno != 0 {
				panic(errno)
			}
			fmt.Printf("%s: non-blocking %v\n", when, flags&syscall.O_NONBLOCK != 0)
		}))
	}
	show("listening")
	file, err := listener.File()
	check(err)
	show("after File()")
	child := exec.Command("true")
	child.ExtraFiles = []*os.File{file}
	check(child.Run())
	show("after a child had it")
}
GO

echo "expected: non-blocking true, three times"
GOCACHE=$work/cache GOPATH=$work/path GO111MODULE=off timeout --kill-after=5 600 go run "$work/main.go" |
  tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
listening: non-blocking true
after File(): non-blocking true
after a child had it: non-blocking false
SEEN
echo "seen: the parent's own listener is blocking once a child has been given a duplicate of it"
