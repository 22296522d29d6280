//! Links the release binary smaller: functions with the same code become one, and there are no tables by which frames are unwound, for
//! a panic aborts. (Its message stays; a backtrace without symbols would tell nobody anything.)

use std::path::Path;

/// The compiled standard library brings its tables along, and no flag leaves them out. With INSERT this is added to what the linker
/// does by itself.
const WITHOUT_UNWIND_TABLES: &str = "\
SECTIONS
{
  /DISCARD/ : { *(.eh_frame) *(.gcc_except_table .gcc_except_table.*) }
}
INSERT AFTER .text;
";

fn main() -> std::io::Result<()> {
    let of = |variable: &str| std::env::var(variable).unwrap_or_default();
    // PROFILE is `release` for every profile that inherits it, too; the directory is this one's alone.
    let out = of("OUT_DIR");
    let profile = Path::new(&out).ancestors().nth(3).and_then(Path::file_name);
    // Only rust-lld knows the first flag. It is the linker of this target since Rust 1.90; others link as they always have.
    if profile.is_some_and(|name| name == "release") && of("TARGET") == "x86_64-unknown-linux-gnu" {
        let script = Path::new(&out).join("without-unwind-tables.ld");
        std::fs::write(&script, WITHOUT_UNWIND_TABLES)?;
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=all,--no-eh-frame-hdr");
        println!("cargo:rustc-link-arg-bins=-T{}", script.display());
    }
    println!("cargo:rerun-if-changed=build.rs");
    Ok(())
}
