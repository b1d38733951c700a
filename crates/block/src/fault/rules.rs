//! Which faults fire for a request: kind, range, count and chance. Says what is to happen, and does
//! none of it.
//!
//! Every fault counts every request that it matches, whatever the others do: `#3` is the third such
//! request that reaches the layer, even if the first was held and the second failed. Several faults
//! may fire for one request; the stack carries out each (see [`Plan`]).

use alloc::vec::Vec;

use super::random::Random;
use super::spec::{FaultAction, FaultSpec, OpMatch};
use crate::{BackendInfo, ByteRange, Io, OpKind};

/// How many faults a layer has room for. One with `#NTH` leaves once its turn has passed.
pub const MAX_FAULTS: usize = 64;

/// A fault that a layer over the storage cannot carry out, or has no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsupportedFault {
    /// Faults of the link are injected at a port.
    #[error("a fault of the link belongs to the port of the controller, not to the storage")]
    Link,
    /// Only reads and writes move data that could fall short or be damaged.
    #[error("`short` and `corrupt` need data; use them with read, write or any")]
    NoData,
    /// [`MAX_FAULTS`] are in place.
    #[error("{MAX_FAULTS} faults are in place, which is all there is room for; clear them first")]
    TooMany,
}

/// What happens to one request. Of two delays the longer one counts, of two errors the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) hang: bool,
    pub(super) delay_ns: Option<u64>,
    pub(super) errno: Option<i32>,
    pub(super) corrupt: bool,
    pub(super) short: bool,
}

impl Plan {
    fn add(&mut self, action: FaultAction) {
        match action {
            FaultAction::Hang => self.hang = true,
            FaultAction::Delay(ns) => self.delay_ns = self.delay_ns.max(Some(ns)),
            FaultAction::Error(errno) => self.errno = self.errno.or(Some(errno)),
            FaultAction::Corrupt => self.corrupt = true,
            FaultAction::Short => self.short = true,
        }
    }
}

/// A request on its way through the stack, with what is to happen to it.
pub(super) struct Planned {
    pub(super) io: Io,
    pub(super) plan: Plan,
}

/// What faults need to know of the disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) sector_bytes: u64,
    pub(super) align_bytes: u64,
}

impl Shape {
    pub(super) fn new(info: &BackendInfo, sector_bytes: u64) -> Self {
        Self { sector_bytes: sector_bytes.max(1), align_bytes: info.io_align_bytes.max(1) }
    }

    /// Whether a transfer can end within the range: it has two units at least.
    pub(super) fn can_cut(self, range: ByteRange) -> bool {
        range.len_bytes / 2 >= self.align_bytes
    }
}

struct Rule {
    matching: OpMatch,
    action: FaultAction,
    matches: u64,
}

impl Rule {
    fn of(fault: FaultSpec) -> Result<Self, UnsupportedFault> {
        let FaultSpec::Op { matching, action } = fault else {
            return Err(UnsupportedFault::Link);
        };
        let needs_data = matches!(action, FaultAction::Short | FaultAction::Corrupt);
        if needs_data && matching.kind.is_some_and(|kind| !kind.has_data()) {
            return Err(UnsupportedFault::NoData);
        }
        Ok(Self { matching, action, matches: 0 })
    }

    /// Whether the fault is for such a request and could happen to it.
    fn matches(&self, io: &Io, shape: Shape) -> bool {
        let possible = match self.action {
            FaultAction::Corrupt => io.kind.has_data(),
            FaultAction::Short => io.kind.has_data() && shape.can_cut(io.range),
            _ => true,
        };
        let of_kind = self.matching.kind.is_none_or(|kind: OpKind| kind == io.kind);
        let in_range = self.matching.lba.is_none_or(|(first, count)| {
            let range = ByteRange::new(
                first.saturating_mul(shape.sector_bytes),
                count.saturating_mul(shape.sector_bytes),
            );
            range.overlaps(io.range)
        });
        possible && of_kind && in_range
    }

    /// Counts a match and says whether the fault fires.
    fn fires(&mut self, random: &mut Random) -> bool {
        self.matches += 1;
        self.matching.nth.is_none_or(|nth| nth == self.matches)
            && self.matching.probability.is_none_or(|probability| random.chance(probability))
    }

    fn is_spent(&self) -> bool {
        self.matching.nth.is_some_and(|nth| nth <= self.matches)
    }
}

/// The faults in place.
pub(super) struct Rules {
    rules: Vec<Rule>,
    random: Random,
}

impl Rules {
    pub(super) fn new(seed: u64) -> Self {
        Self { rules: Vec::new(), random: Random::new(seed) }
    }

    pub(super) fn add(&mut self, fault: FaultSpec) -> Result<(), UnsupportedFault> {
        let rule = Rule::of(fault)?;
        if self.rules.len() >= MAX_FAULTS {
            return Err(UnsupportedFault::TooMany);
        }
        self.rules.push(rule);
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    /// Decides what happens to `io`.
    pub(super) fn plan(&mut self, io: &Io, shape: Shape) -> Plan {
        let mut plan = Plan::default();
        let random = &mut self.random;
        self.rules.retain_mut(|rule| {
            if rule.matches(io, shape) {
                if rule.fires(random) {
                    plan.add(rule.action);
                }
                return !rule.is_spent();
            }
            true
        });
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IoId;
    use std::string::ToString;

    const SHAPE: Shape = Shape { sector_bytes: 512, align_bytes: 512 };

    fn rules(seed: u64, faults: &[&str]) -> Rules {
        let mut rules = Rules::new(seed);
        for fault in faults {
            rules.add(fault.parse().expect("a fault")).expect("a fault of the storage");
        }
        rules
    }

    fn io(kind: OpKind, lba: u64, sectors: u64) -> Io {
        Io {
            id: IoId { slot: 0, generation: 0 },
            kind,
            range: ByteRange::new(lba * 512, sectors * 512),
            fua: false,
            buf: None,
            buf_offset_bytes: 0,
        }
    }

    /// For which of `count` equal writes the first fault fires.
    fn firing(rules: &mut Rules, count: usize) -> Vec<bool> {
        let write = io(OpKind::Write, 0, 8);
        (0..count).map(|_| rules.plan(&write, SHAPE) != Plan::default()).collect()
    }

    #[test]
    fn nth_fires_once_and_the_fault_is_gone() {
        let mut rules = rules(1, &["write#3:hang"]);
        assert_eq!(firing(&mut rules, 5), [false, false, true, false, false]);
        assert!(rules.rules.is_empty());
    }

    #[test]
    fn each_fault_counts_for_itself_and_several_may_fire_for_one_request() {
        let mut rules = rules(1, &["write#2:error=EIO", "any#2:delay=1s", "write#3:hang"]);
        let write = io(OpKind::Write, 0, 8);
        assert_eq!(rules.plan(&write, SHAPE), Plan::default());
        let both = Plan { errno: Some(5), delay_ns: Some(1_000_000_000), ..Plan::default() };
        assert_eq!(rules.plan(&write, SHAPE), both);
        assert_eq!(rules.plan(&write, SHAPE), Plan { hang: true, ..Plan::default() });
    }

    #[test]
    fn of_two_delays_the_longer_counts_and_of_two_errors_the_first() {
        let faults = ["any:delay=1s", "any:delay=3s", "any:error=ENOSPC", "any:error=EIO"];
        let plan = rules(1, &faults).plan(&io(OpKind::Flush, 0, 0), SHAPE);
        assert_eq!((plan.delay_ns, plan.errno), (Some(3_000_000_000), Some(28)));
    }

    #[test]
    fn a_range_matches_every_request_that_touches_it() {
        let mut rules = rules(1, &["read@10+2:hang"]);
        let mut hangs = |lba, sectors| rules.plan(&io(OpKind::Read, lba, sectors), SHAPE).hang;
        assert!(!hangs(2, 8));
        assert!(hangs(3, 8));
        assert!(hangs(11, 1));
        assert!(!hangs(12, 1));
    }

    #[test]
    fn chance_is_the_same_for_the_same_seed_and_differs_for_another() {
        let draw = |seed| firing(&mut rules(seed, &["write/0.5:hang"]), 64);
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let hits = firing(&mut rules(7, &["write/0.1:hang"]), 10_000);
        let hits = hits.iter().filter(|hit| **hit).count();
        assert!((800..1_200).contains(&hits), "{hits} of 10000 at 0.1");
    }

    #[test]
    fn short_and_corrupt_count_only_what_they_can_happen_to() {
        let mut rules = rules(1, &["any#1:short", "any#1:corrupt"]);
        assert_eq!(rules.plan(&io(OpKind::Flush, 0, 0), SHAPE), Plan::default());
        let plan = rules.plan(&io(OpKind::Write, 0, 1), SHAPE);
        assert!(plan.corrupt && !plan.short, "one unit cannot be cut");
        assert!(rules.plan(&io(OpKind::Read, 0, 2), SHAPE).short);
    }

    #[test]
    fn what_cannot_be_carried_out_is_refused_in_words() {
        let mut rules = Rules::new(1);
        let mut refusal = |text: &str| {
            let fault = text.parse().expect("a fault");
            rules.add(fault).expect_err("refused").to_string()
        };
        assert!(refusal("link:crc").contains("port"));
        assert!(refusal("flush:short").contains("read, write or any"));
        assert!(refusal("discard:corrupt").contains("read, write or any"));
    }

    #[test]
    fn there_is_room_for_a_fixed_number_of_faults() {
        let mut rules = Rules::new(1);
        let fault: FaultSpec = "any:hang".parse().expect("a fault");
        for _ in 0..MAX_FAULTS {
            assert_eq!(rules.add(fault.clone()), Ok(()));
        }
        let refused = rules.add(fault.clone()).expect_err("no room");
        assert!(refused.to_string().starts_with("64 faults"), "{refused}");
        rules.clear();
        assert_eq!(rules.add(fault), Ok(()));
    }
}
