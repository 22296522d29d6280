//! Giving back what only the start needed: the code of the command line is not run again, nor its heap used.

use std::fs;

/// Unmaps the pages of our own code and the free pages of the heap. Code that is run again is mapped again from the
/// page cache, at the price of a minor fault for each piece. To be called once, after the start: called after each reload it
/// would cost the next one more than it saves.
pub(crate) fn trim_heap() {
    for (start, length) in own_code() {
        // SAFETY: the range is one whole mapping of our executable, private, never written (r-x) and backed by the file, so
        // that MADV_DONTNEED (madvise(2)) loses nothing: the next access reads the same bytes again.
        unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED) };
    }
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) has no preconditions; it returns free pages of the heap to the kernel.
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Start and length of the mappings of our executable that hold code.
fn own_code() -> Vec<(usize, usize)> {
    let Ok(exe) = fs::read_link("/proc/self/exe") else {
        return Vec::new();
    };
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.lines()
        .filter(|line| line.ends_with(&*exe.to_string_lossy()))
        .filter_map(code_range)
        .collect()
}

/// A line of /proc/self/maps, proc_pid_maps(5): `55d0c0a00000-55d0c0b16000 r-xp 0005d000 fe:00 1026 /usr/bin/segue`.
fn code_range(line: &str) -> Option<(usize, usize)> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    rest.starts_with("r-xp")
        .then_some((start, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_that_was_never_written_is_given_back() {
        assert_eq!(
            code_range("1000-3000 r-xp 0005d000 fe:00 1 /segue"),
            Some((0x1000, 0x2000))
        );
        for kept in [
            "1000-3000 r--p 0 fe:00 1 /segue",
            "1000-3000 rw-p 0 fe:00 1 /segue",
            "garbage",
            "",
        ] {
            assert_eq!(code_range(kept), None, "{kept}");
        }
    }

    #[test]
    fn the_program_runs_on_afterwards() {
        assert!(!own_code().is_empty());
        trim_heap();
        assert!(!own_code().is_empty());
    }
}
