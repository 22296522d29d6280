#!/bin/sh
# The build of compare.py's app. Its last act is to say when it ended, in nanoseconds.
set -eu
sleep 0.3
mkdir -p dist
cp src/server.py src/version dist/
date +%s%N >dist/built
