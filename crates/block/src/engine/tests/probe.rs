//! Which sector a failed read is reported at.

use super::*;

const EIO: IoError = IoError::Os(5);

impl Rig {
    /// Completes everything, with an error wherever one of `bad` is read; how many requests there
    /// were.
    fn run_with_bad(&mut self, bad: &[u64]) -> usize {
        let mut requests = 0;
        loop {
            let Some(&(kind, range, _)) = self.disk.pending().first() else {
                return requests;
            };
            requests += 1;
            let fails = kind == OpKind::Read
                && bad.iter().any(|sector| sector_range(*sector, 1).overlaps(range));
            self.disk.finish_with(0, fails.then_some(Err(EIO)));
            self.poll();
        }
    }

    fn large() -> Self {
        let config = EngineConfig { buf_bytes: 128 << 10, ..EngineConfig::default() };
        Self::new(Disk::new(4096, 1), config)
    }
}

fn at(sector: u64) -> Result<(), OpError> {
    Err(OpError { error: EIO, offset_bytes: sector * SECTOR })
}

#[test]
fn a_read_is_reported_at_its_first_bad_sector() {
    for bad in [0, 1, 100, 255, 256, 511, 700, 767] {
        let mut rig = Rig::large();
        rig.read(1, 0, 768);
        let requests = rig.run_with_bad(&[bad, 767]);
        assert_eq!(rig.answered(1), [at(bad)]);
        assert!(requests <= 3 + 9 + 9, "{requests}");
        assert_eq!(rig.engine.counters().failed_total, 1);
    }
}

#[test]
fn the_first_of_several_pieces_that_fail_counts() {
    let mut rig = Rig::large();
    rig.read(1, 0, 768);
    // The last piece fails first, and then the others.
    for index in [2, 1, 0] {
        rig.disk.finish_with(index, Some(Err(EIO)));
        rig.poll();
    }
    rig.run_with_bad(&[300, 600, 20]);
    assert_eq!(rig.answered(1), [at(20)]);
}

#[test]
fn no_other_piece_starts_while_a_failure_is_looked_for() {
    let config = EngineConfig { buf_bytes: 4096, window: 1, ..EngineConfig::default() };
    let mut rig = Rig::new(Disk::new(1024, 1), config);
    rig.read(1, 0, 800);
    let requests = rig.run_with_bad(&[3]);
    assert!(requests <= 5, "{requests}");
    assert_eq!(rig.answered(1), [at(3)]);
}

#[test]
fn an_error_that_does_not_come_again_is_still_an_error() {
    let mut rig = Rig::large();
    rig.read(1, 8, 64);
    rig.disk.finish_with(0, Some(Err(EIO)));
    rig.poll();
    rig.run_with_bad(&[]);
    assert_eq!(rig.answered(1), [at(8)]);
}

#[test]
fn looking_for_a_failure_moves_no_data_to_the_guest() {
    let mut rig = Rig::large();
    rig.read(1, 0, 64);
    rig.run_with_bad(&[63]);
    assert_eq!(rig.answered(1), [at(63)]);
    assert!(rig.guest.touched.is_empty());
}

#[test]
fn a_read_that_is_being_looked_into_is_cancelled_like_any_other() {
    let mut rig = Rig::large();
    let token = rig.read(1, 0, 64);
    rig.disk.finish_with(0, Some(Err(EIO)));
    rig.poll();
    assert_eq!(rig.disk.pending().len(), 1, "the first half");
    assert!(rig.cancel(token));
    assert_eq!(rig.engine.counters().orphans_now, 1);
    rig.run_with_bad(&[]);
    assert_eq!(rig.engine.counters().orphans_now, 0);
    assert!(rig.answered(1).is_empty() && rig.guest.touched.is_empty());
    // The slot is as good as new.
    rig.read(2, 0, 64);
    rig.run_with_bad(&[]);
    assert_eq!(rig.answered(2), [Ok(())]);
}

#[test]
fn a_write_is_not_repeated_to_find_out_where_it_failed() {
    let mut rig = Rig::large();
    rig.write(1, 8, 64, 7);
    rig.disk.finish_with(0, Some(Err(EIO)));
    rig.poll();
    assert!(rig.disk.pending().is_empty());
    assert_eq!(rig.answered(1), [at(8)]);
}

#[test]
fn large_blocks_are_told_apart_and_not_their_sectors() {
    let mut rig = Rig::new(Disk::new(1024, 4096), EngineConfig::default());
    // Sectors 3 to 42; blocks have 8.
    rig.read(1, 3, 40);
    rig.run_with_bad(&[21]);
    assert_eq!(rig.answered(1), [at(16)]);
    // The block begins before what was asked for.
    rig.read(2, 3, 40);
    rig.run_with_bad(&[1]);
    assert_eq!(rig.answered(2), [at(3)]);
}

#[test]
fn nonsense_in_answer_to_a_probe_ends_it() {
    let mut rig = Rig::large();
    rig.read(1, 0, 4);
    rig.disk.finish_with(0, Some(Err(EIO)));
    rig.poll();
    let mut answers = 0;
    while !rig.disk.pending().is_empty() {
        let mut medium = rig.disk.medium.lock().expect("medium");
        let io = medium.pending.remove(0);
        medium.done.push(io.done(Ok(u64::MAX)));
        drop(medium);
        rig.poll();
        answers += 1;
    }
    assert!(answers <= 4);
    let expected = OpError { error: IoError::BackendProtocol, offset_bytes: 0 };
    assert_eq!(rig.answered(1), [Err(expected)]);
}

#[test]
fn what_an_orphan_may_change_is_not_read_again() {
    let mut rig = Rig::large();
    let write = rig.write(1, 0, 64, 7);
    rig.read(2, 0, 64);
    rig.cancel(write);
    rig.disk.finish_with(1, Some(Err(EIO)));
    rig.poll();
    assert_eq!(rig.disk.pending().len(), 1, "the orphan");
    assert_eq!(rig.answered(2), [at(0)]);
}

#[test]
fn storage_that_takes_long_to_fail_is_not_asked_for_ever() {
    let mut rig = Rig::large();
    rig.read(1, 0, 256);
    let mut requests = 0;
    while let Some(&(_, range, _)) = rig.disk.pending().first() {
        requests += 1;
        rig.now = rig.now.plus(3_000_000_000);
        let fails = range.overlaps(sector_range(200, 1));
        rig.disk.finish_with(0, fails.then_some(Err(EIO)));
        rig.poll();
    }
    assert_eq!(requests, 3);
    assert_eq!(rig.answered(1), [at(192)], "all before it can be read");
}
