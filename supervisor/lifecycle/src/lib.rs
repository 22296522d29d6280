#![no_std]
//! The lifecycle core.
extern crate alloc;
