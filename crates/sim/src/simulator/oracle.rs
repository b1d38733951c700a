//! What each sector of a disk may hold, and what it must still hold after a crash.
//!
//! Each sector has a history: the changes to it, oldest first. Because the guest has no two live
//! commands of which one changes what the other is about, and because of the fence, that is also
//! the order in which they reach the medium. A change *may be there* once it was cancelled or
//! failed; a completed one *is* there, and everything before it is not any more. What a read has
//! shown is certain from then on. After a crash any value of the history may be there, but for
//! those before the last change that was made durable.

use super::config::SECTORS;
use super::violation::{Kind, Violation};

/// A set of sectors.
pub(super) type Mask = [u64; SECTORS / 64];

/// The sectors of `mask`.
pub(super) fn sectors(mask: &Mask) -> impl Iterator<Item = usize> {
    mask.iter().enumerate().flat_map(|(index, word)| {
        let mut left = *word;
        std::iter::from_fn(move || {
            (left != 0).then(|| {
                let bit = left.trailing_zeros() as usize;
                left &= left - 1;
                index * 64 + bit
            })
        })
    })
}

/// Puts `count` sectors at `lba` into `mask`.
pub(super) fn add(mask: &mut Mask, lba: usize, count: usize) {
    for sector in lba..(lba + count).min(SECTORS) {
        mask[sector / 64] |= 1 << (sector % 64);
    }
}

/// Whether two sets have something in common.
pub(super) fn meet(one: &Mask, other: &Mask) -> bool {
    one.iter().zip(other).any(|(one, other)| one & other != 0)
}

#[derive(Clone, Copy, Debug)]
struct Change {
    op: u32,
    value: u64,
    /// When it was completed; the largest number if it was not.
    completed: u32,
    /// A read may return it.
    possible: bool,
}

/// The oracle of one disk.
pub(super) struct Oracle {
    sectors: Vec<Vec<Change>>,
}

impl Oracle {
    /// A disk full of zeroes.
    pub(super) fn new() -> Self {
        let zero = Change { op: 0, value: 0, completed: 0, possible: true };
        let history = || {
            let mut changes = Vec::with_capacity(8);
            changes.push(zero);
            changes
        };
        Self { sectors: (0..SECTORS).map(|_| history()).collect() }
    }

    /// A change is issued: a crash may find it from now on.
    pub(super) fn begin(&mut self, op: u32, mask: &Mask, value: impl Fn(usize) -> u64) {
        for sector in sectors(mask) {
            let change = Change { op, value: value(sector), completed: u32::MAX, possible: false };
            self.sectors[sector].push(change);
        }
    }

    /// It was cancelled or failed, or the storage may have skipped this part.
    pub(super) fn maybe(&mut self, op: u32, mask: &Mask) {
        for sector in sectors(mask) {
            for change in self.sectors[sector].iter_mut().filter(|change| change.op == op) {
                change.possible = true;
            }
        }
    }

    /// It was completed at `now`, and is durable already if `durable`.
    pub(super) fn complete(&mut self, op: u32, mask: &Mask, now: u32, durable: bool) {
        for sector in sectors(mask) {
            let history = &mut self.sectors[sector];
            let Some(at) = history.iter().rposition(|change| change.op == op) else { continue };
            for change in &mut history[..at] {
                change.possible = false;
            }
            history[at].possible = true;
            history[at].completed = now;
            if durable {
                history.drain(..at);
            }
        }
    }

    /// A flush that was issued at `issued` has been completed.
    pub(super) fn flushed(&mut self, issued: u32) {
        for history in &mut self.sectors {
            if history.len() > 1
                && let Some(at) = history.iter().rposition(|change| change.completed <= issued)
            {
                history.drain(..at);
            }
        }
    }

    /// A read has returned `value` for `sector`.
    pub(super) fn read(&mut self, sector: usize, value: u64) -> Result<(), Violation> {
        let history = &mut self.sectors[sector];
        if !history.iter().any(|change| change.possible && change.value == value) {
            let allowed: Vec<String> = history
                .iter()
                .filter(|change| change.possible)
                .map(|change| format!("{:#x}", change.value))
                .collect();
            let was = history.iter().any(|change| change.value == value);
            let age = if was { "a value of the past" } else { "a value that was never there" };
            return Err(Violation::new(
                Kind::Data,
                format!("sector {sector} holds {value:#x}, {age}; allowed: {}", allowed.join(", ")),
            ));
        }
        for change in history.iter_mut() {
            change.possible &= change.value == value;
        }
        Ok(())
    }

    /// The process was killed: `image` is what is left.
    pub(super) fn check_durable(&self, image: &[u64]) -> Result<(), Violation> {
        for (sector, (history, value)) in self.sectors.iter().zip(image).enumerate() {
            if !history.iter().any(|change| change.value == *value) {
                let last = history.first().map_or(0, |change| change.value);
                return Err(Violation::new(
                    Kind::Durability,
                    format!(
                        "after a crash sector {sector} holds {value:#x}, but {last:#x} or later was promised"
                    ),
                ));
            }
        }
        Ok(())
    }
}
