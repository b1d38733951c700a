//! A random life, judged by what a guest may observe.

use std::collections::{BTreeMap, BTreeSet};
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

/// One step of a random life.
#[derive(Clone, Debug)]
enum Step {
    Write { lba: u64, sectors: u64 },
    Read { lba: u64, sectors: u64 },
    Discard { lba: u64, sectors: u64 },
    Flush,
    Finish { which: usize, short: bool },
    Fail { which: usize },
    Cancel { which: usize },
    Reset,
    Poll,
}

fn step() -> impl Strategy<Value = Step> {
    let place = || (0u64..48, 1u64..16);
    prop_oneof![
        4 => place().prop_map(|(lba, sectors)| Step::Write { lba, sectors }),
        4 => place().prop_map(|(lba, sectors)| Step::Read { lba, sectors }),
        1 => place().prop_map(|(lba, sectors)| Step::Discard { lba, sectors }),
        1 => Just(Step::Flush),
        8 => (any::<usize>(), proptest::bool::weighted(0.1))
            .prop_map(|(which, short)| Step::Finish { which, short }),
        1 => any::<usize>().prop_map(|which| Step::Fail { which }),
        2 => any::<usize>().prop_map(|which| Step::Cancel { which }),
        1 => Just(Step::Reset),
        6 => Just(Step::Poll),
    ]
}

/// What each sector may hold, as far as the guest can know.
struct Oracle {
    allowed: Vec<BTreeSet<u8>>,
}

#[derive(Clone, Copy)]
struct Live {
    token: OpToken,
    kind: OpKind,
    lba: u64,
    sectors: u64,
    value: u8,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// The guest issues no two live operations that overlap (it could expect nothing then), but
    /// cancels and retries over orphans as it likes. Every read must be explained.
    #[test]
    fn whatever_is_cancelled_a_guest_never_sees_old_data_after_new(
        steps in proptest::collection::vec(step(), 1..200),
        align in prop_oneof![Just(1u64), Just(4096)],
        slots in 1u16..12,
    ) {
        let config = EngineConfig { slots, buf_bytes: 4096, window: 3, ..EngineConfig::default() };
        let mut rig = Rig::new(Disk::new(64, align), config);
        let mut oracle = Oracle { allowed: vec![BTreeSet::from([0]); 64] };
        let mut live: BTreeMap<u32, Live> = BTreeMap::new();
        let mut next_tag = 0u32;
        let mut next_value = 0u8;
        // At the end everything is allowed to settle, and is read back whole.
        let ending = (0..600).map(|round| match round % 2 {
            0 => Step::Finish { which: 0, short: false },
            _ => Step::Poll,
        });
        for step in steps.into_iter().chain(ending) {
            let free = |lba: u64, sectors: u64| {
                live.values().all(|op| op.lba + op.sectors <= lba || lba + sectors <= op.lba)
            };
            let pending = rig.disk.pending().len();
            match step {
                Step::Write { lba, sectors } | Step::Read { lba, sectors }
                | Step::Discard { lba, sectors } if live.len() < 40 && free(lba, sectors) => {
                    next_tag += 1;
                    next_value = next_value.wrapping_add(1).max(1);
                    let (token, kind, value) = match step {
                        Step::Write { .. } => {
                            (rig.write(next_tag, lba, sectors, next_value), OpKind::Write, next_value)
                        }
                        Step::Read { .. } => (rig.read(next_tag, lba, sectors), OpKind::Read, 0),
                        _ => {
                            let request = Request::discard(next_tag, vec![sector_range(lba, sectors)]);
                            (rig.submit(request), OpKind::Discard, 0)
                        }
                    };
                    live.insert(next_tag, Live { token, kind, lba, sectors, value });
                }
                Step::Flush if live.len() < 40 => {
                    next_tag += 1;
                    let token = rig.submit(Request::flush(next_tag));
                    let op = Live { token, kind: OpKind::Flush, lba: 64, sectors: 0, value: 0 };
                    live.insert(next_tag, op);
                }
                Step::Finish { which, short } if pending > 0 => {
                    let which = which % pending;
                    let (kind, range, _) = rig.disk.pending()[which];
                    // Storage tears between sectors, not within.
                    let half = (range.len_bytes / 2) & !(align.max(SECTOR) - 1);
                    let halves = short && kind.has_data() && half > 0;
                    rig.disk.finish_with(which, halves.then_some(Ok(half)));
                }
                Step::Fail { which } if pending > 0 => {
                    rig.disk.finish_with(which % pending, Some(Err(IoError::Os(5))));
                }
                Step::Cancel { which } if !live.is_empty() => {
                    let tag = *live.keys().nth(which % live.len()).expect("a live one");
                    let op = live.remove(&tag).expect("live");
                    prop_assert!(rig.cancel(op.token));
                    may_hold(&mut oracle, op);
                }
                Step::Reset => {
                    let count = rig.engine.cancel_all(rig.now);
                    rig.engine.assert_consistent();
                    prop_assert_eq!(count, live.len());
                    for (_, op) in core::mem::take(&mut live) {
                        may_hold(&mut oracle, op);
                    }
                }
                Step::Poll => rig.poll(),
                _ => {}
            }
            for (tag, result) in core::mem::take(&mut rig.guest.answers) {
                let op = live.remove(&tag);
                prop_assert!(op.is_some(), "an answer to what is not live: tag {}", tag);
                let op = op.expect("live");
                match (op.kind, result) {
                    (OpKind::Write | OpKind::Discard, Ok(())) => {
                        for sector in op.lba..op.lba + op.sectors {
                            oracle.allowed[sector as usize] = BTreeSet::from([op.value]);
                        }
                    }
                    (OpKind::Write | OpKind::Discard, Err(_)) => may_hold(&mut oracle, op),
                    (OpKind::Read, Ok(())) => check_read(&mut oracle, &rig.guest.memory[&tag], op)?,
                    _ => {}
                }
            }
        }
        prop_assert!(live.is_empty(), "everything that is live ends once the backend works");
        prop_assert_eq!(rig.engine.counters().orphans_now, 0);
        prop_assert_eq!(rig.engine.counters().fences_now, 0);
        let medium = rig.disk.medium.lock().expect("medium").bytes.clone();
        check_read(&mut oracle, &medium, Live {
            token: rig.engine.submit(Request::flush(0), rig.now, &mut rig.guest).expect("idle"),
            kind: OpKind::Read, lba: 0, sectors: 64, value: 0,
        })?;
    }
}

/// A change that was cancelled or failed may have happened, in part, or not at all.
fn may_hold(oracle: &mut Oracle, op: Live) {
    if op.kind.changes_medium() {
        for sector in op.lba..op.lba + op.sectors {
            oracle.allowed[sector as usize].insert(op.value);
        }
    }
}

/// What is read must be allowed, whole sectors of one value, and from then on certain.
fn check_read(oracle: &mut Oracle, data: &[u8], op: Live) -> Result<(), TestCaseError> {
    for (index, bytes) in data.chunks(SECTOR as usize).enumerate() {
        let sector = op.lba as usize + index;
        let value = bytes[0];
        prop_assert!(bytes.iter().all(|byte| *byte == value), "sector {} is torn", sector);
        prop_assert!(
            oracle.allowed[sector].contains(&value),
            "sector {} holds {} but may hold {:?}",
            sector,
            value,
            oracle.allowed[sector]
        );
        oracle.allowed[sector] = BTreeSet::from([value]);
    }
    Ok(())
}
