//! Tests in a container engine: each starts a dockerd of its own, for which it needs root. And of the static programs.

mod container;
mod tarball;
