//! Which ranges of the medium an orphan may still change (contract C4).
//!
//! A set of ranges that may overlap one another, ordered by start. A query looks only at ranges
//! that start close enough below the end of the range in question, which the longest length ever
//! fenced bounds.

use alloc::collections::BTreeMap;

use crate::ByteRange;

/// The fences of one medium, each named by the slot whose orphan raised it.
#[derive(Debug, Default)]
pub(crate) struct Fences {
    by_start: BTreeMap<(u64, u16), u64>,
    longest_bytes: u64,
}

impl Fences {
    /// Raises a fence over `range` for `slot`'s orphan.
    pub(crate) fn raise(&mut self, slot: u16, range: ByteRange) {
        self.longest_bytes = self.longest_bytes.max(range.len_bytes);
        self.by_start.insert((range.offset_bytes, slot), range.len_bytes);
    }

    /// Takes down the fence that `slot` raised over `range`. Says whether there was one.
    pub(crate) fn drop_fence(&mut self, slot: u16, range: ByteRange) -> bool {
        if sabotaged!(FenceDroppedEarly) {
            self.by_start.clear();
            return true;
        }
        let was_there = self.by_start.remove(&(range.offset_bytes, slot)).is_some();
        if self.by_start.is_empty() {
            self.longest_bytes = 0;
        }
        was_there
    }

    /// Whether a fence stands over any byte of `range`.
    pub(crate) fn blocks(&self, range: ByteRange) -> bool {
        if self.by_start.is_empty() {
            return false;
        }
        let first = range.offset_bytes.saturating_sub(self.longest_bytes);
        self.by_start
            .range((first, 0)..(range.end_bytes(), 0))
            .any(|(&(start, _), &len)| ByteRange::new(start, len).overlaps(range))
    }

    /// How many stand.
    pub(crate) fn len(&self) -> usize {
        self.by_start.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_query_agrees_with_looking_at_every_fence(
            fences in proptest::collection::vec((0u64..200, 0u64..60), 0..24),
            gone in proptest::collection::vec(any::<bool>(), 24),
            queries in proptest::collection::vec((0u64..200, 0u64..60), 1..16),
        ) {
            let mut index = Fences::default();
            for (slot, (start, len)) in fences.iter().enumerate() {
                index.raise(slot as u16, ByteRange::new(*start, *len));
            }
            let mut left = alloc::vec::Vec::new();
            for (slot, (start, len)) in fences.iter().enumerate() {
                let range = ByteRange::new(*start, *len);
                if gone[slot] {
                    prop_assert!(index.drop_fence(slot as u16, range));
                } else {
                    left.push(range);
                }
            }
            prop_assert_eq!(index.len(), left.len());
            for (start, len) in queries {
                let range = ByteRange::new(start, len);
                prop_assert_eq!(index.blocks(range), left.iter().any(|fence| fence.overlaps(range)));
            }
        }
    }
}
