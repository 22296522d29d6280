//! Harness for tests with real processes.
