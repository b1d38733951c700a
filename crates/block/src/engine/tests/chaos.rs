//! Anything at all: operations that overlap, memory that goes, storage that misbehaves.

use std::collections::BTreeMap;
use std::vec;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Chaos {
    Submit { kind: u8, lba: u64, sectors: u64, fua: bool },
    Finish { which: usize, how: u8 },
    Cancel { which: usize },
    Reset,
    Unmap(bool),
    Poll,
}

fn chaos() -> impl Strategy<Value = Chaos> {
    prop_oneof![
        8 => (0u8..5, 0u64..60, 1u64..40, any::<bool>())
            .prop_map(|(kind, lba, sectors, fua)| Chaos::Submit { kind, lba, sectors, fua }),
        8 => (any::<usize>(), 0u8..16).prop_map(|(which, how)| Chaos::Finish { which, how }),
        2 => any::<usize>().prop_map(|which| Chaos::Cancel { which }),
        1 => Just(Chaos::Reset),
        1 => any::<bool>().prop_map(Chaos::Unmap),
        6 => Just(Chaos::Poll),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    /// Operations may overlap, memory may go, and storage may do anything: what is live is
    /// answered once, what is cancelled never, and nothing is left over once the storage works.
    #[test]
    fn whatever_happens_everything_live_ends_once(
        steps in proptest::collection::vec(chaos(), 1..150),
        align in prop_oneof![Just(1u64), Just(512), Just(4096)],
        discard_align in prop_oneof![Just(1u64), Just(512), Just(4096)],
        fua in any::<bool>(),
        slots in 1u16..8,
        window in 1u16..5,
    ) {
        let mut disk = Disk::new(104, align);
        disk.info.fua = fua;
        disk.info.discard = Some(DiscardSupport { align_bytes: discard_align, reads_zeroes: true });
        let config = EngineConfig { slots, buf_bytes: 4096, window, max_operations: 32, write_through: false };
        let mut rig = Rig::new(disk, config);
        let mut live: BTreeMap<u32, OpToken> = BTreeMap::new();
        let mut tag = 0u32;
        for step in steps {
            let pending = rig.disk.pending().len();
            match step {
                Chaos::Submit { kind, lba, sectors, fua } if live.len() < 32 => {
                    tag += 1;
                    rig.guest.memory.insert(tag, vec![tag as u8; (sectors * SECTOR) as usize]);
                    let range = sector_range(lba, sectors);
                    let request = match kind {
                        0 => Request::read(tag, range),
                        1 => Request::write(tag, range, fua),
                        2 => Request::write_zeroes(tag, range, fua),
                        3 => Request { fua, ..Request::discard(tag, vec![range, sector_range(0, 9)]) },
                        _ => Request::flush(tag),
                    };
                    let token = rig.submit(request);
                    live.insert(tag, token);
                }
                Chaos::Finish { which, how } if pending > 0 => {
                    let which = which % pending;
                    let (kind, range, _) = rig.disk.pending()[which];
                    let half = (range.len_bytes / 2) & !(align.max(SECTOR) - 1);
                    let result = match how {
                        0 => Some(Err(IoError::Os(5))),
                        1 => Some(Err(IoError::Unsupported)),
                        2 if kind.has_data() => Some(Ok(half)),
                        _ => None,
                    };
                    rig.disk.finish_with(which, result);
                }
                Chaos::Cancel { which } if !live.is_empty() => {
                    let tag = *live.keys().nth(which % live.len()).expect("live");
                    let token = live.remove(&tag).expect("live");
                    prop_assert!(rig.cancel(token));
                }
                Chaos::Reset => {
                    prop_assert_eq!(rig.engine.cancel_all(rig.now), live.len());
                    live.clear();
                }
                Chaos::Unmap(gone) => rig.guest.unmapped = gone,
                Chaos::Poll => rig.poll(),
                _ => {}
            }
            rig.engine.assert_consistent();
            for (tag, _) in core::mem::take(&mut rig.guest.answers) {
                prop_assert!(live.remove(&tag).is_some(), "tag {} is not live", tag);
            }
        }
        rig.guest.unmapped = false;
        for _ in 0..3000 {
            if live.is_empty() && rig.disk.pending().is_empty() { break; }
            rig.disk.finish_all();
            rig.poll();
            for (tag, _) in core::mem::take(&mut rig.guest.answers) {
                prop_assert!(live.remove(&tag).is_some(), "tag {} is not live", tag);
            }
        }
        rig.poll();
        prop_assert!(live.is_empty(), "left over: {:?}; {:?}", live, rig.engine.counters());
        let counters = rig.engine.counters();
        prop_assert_eq!((counters.orphans_now, counters.fences_now, counters.held_now,
            counters.queued_now, counters.running_now), (0, 0, 0, 0, 0));
        prop_assert_eq!(rig.engine.next_wakeup(), None);
    }
}
