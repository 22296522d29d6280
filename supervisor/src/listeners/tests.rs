//! Real sockets, real paths.
