//! Putting few things in order.
//!
//! The standard library's sort is written for many things, and is some three KiB of code for each type that it sorts. What
//! is sorted here has a dozen entries.

/// The items by their keys; those with equal keys stay in the order in which they came. For few items: each is moved
/// to its place one by one.
pub(crate) fn in_order<T, K: Ord>(items: impl IntoIterator<Item = T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut ordered: Vec<T> = Vec::new();
    for item in items {
        let place = ordered.partition_point(|other| key(other) <= key(&item));
        ordered.insert(place, item);
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_ordered_by_key_and_equal_ones_keep_their_order() {
        let items = [(2, 'a'), (1, 'b'), (2, 'c'), (0, 'd'), (1, 'e')];
        let ordered = in_order(items, |(key, _)| *key);
        assert_eq!(ordered, [(0, 'd'), (1, 'b'), (1, 'e'), (2, 'a'), (2, 'c')]);
        assert!(in_order(Vec::<u8>::new(), |item| *item).is_empty());
    }
}
