//! How many random cases a property test tries.

/// So many of all cases: all with `SEGUE_LONG=1`, a tenth otherwise. The seed differs from run to run, so that the runs of
/// a week try more than one long one.
pub(crate) fn cases(all: u32) -> u32 {
    let long = std::env::var_os("SEGUE_LONG").is_some_and(|value| value == "1");
    if long { all } else { all / 10 }
}
