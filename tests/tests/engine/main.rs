//! Tests in a container engine: each starts a dockerd of its own, for which it needs root.
//! Of podman below a supervisor, and of the static programs.

mod container;
mod images;
mod pipeline;
mod tarball;
