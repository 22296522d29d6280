//! Links the release binary smaller: functions with the same code become one, and there is no table in which frames are looked up to
//! unwind them, for a panic aborts. (Its message stays; a backtrace without symbols would tell nobody anything.)

fn main() {
    let is = |variable: &str, value: &str| std::env::var(variable).is_ok_and(|found| found == value);
    // Only rust-lld knows the first flag. It is the linker of this target since Rust 1.90; others link as they always have.
    if is("PROFILE", "release") && is("TARGET", "x86_64-unknown-linux-gnu") {
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=all,--no-eh-frame-hdr");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
