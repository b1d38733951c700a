//! The cases.

use std::time::{Duration, Instant};

use freewheel_block::{ByteRange, IoError, IoId, OpKind};

use super::rig::{BUF_BYTES, Rig};
use super::{Case, Fixture, MEDIUM_BYTES};

/// Everything a backend must do.
pub const CASES: &[Case] = &[
    Case { name: "info_is_sane", run: info_is_sane },
    Case { name: "reads_what_was_written", run: reads_what_was_written },
    Case { name: "works_without_registered_buffers", run: works_without_registered_buffers },
    Case { name: "edges_of_the_medium", run: edges_of_the_medium },
    Case { name: "nothing_beyond_the_end", run: nothing_beyond_the_end },
    Case { name: "touches_only_its_part_of_the_buffer", run: touches_only_its_part_of_the_buffer },
    Case { name: "flushes", run: flushes },
    Case { name: "content_survives_reopening", run: content_survives_reopening },
    Case { name: "fua_writes", run: fua_writes },
    Case { name: "discards", run: discards },
    Case { name: "write_zeroes", run: write_zeroes },
    Case { name: "all_slots_at_once", run: all_slots_at_once },
    Case { name: "random_mix_against_a_model", run: random_mix_against_a_model },
    Case { name: "generations_wrap", run: generations_wrap },
    Case { name: "read_only_refuses_changes", run: read_only_refuses_changes },
    Case { name: "cancel_hints_are_harmless", run: cancel_hints_are_harmless },
    Case { name: "signals_and_falls_silent", run: signals_and_falls_silent },
    Case { name: "dropped_with_requests_in_flight", run: dropped_with_requests_in_flight },
];

const SILENCE: Duration = Duration::from_millis(60);

/// Bytes that differ with the place and with `seed`.
fn pattern(seed: u64, len_bytes: u64) -> Vec<u8> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut bytes = Vec::with_capacity(len_bytes as usize + 8);
    while bytes.len() < len_bytes as usize {
        bytes.extend(random.next().to_le_bytes());
    }
    bytes.truncate(len_bytes as usize);
    bytes
}

/// xorshift64: repeatable, and good enough to pick places.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn info_is_sane(fixture: &dyn Fixture) {
    let info = Rig::new(fixture).info();
    assert!(info.io_align_bytes.is_power_of_two() && info.io_align_bytes <= 4096);
    assert!(info.size_bytes >= MEDIUM_BYTES);
    assert!(info.size_bytes.is_multiple_of(info.io_align_bytes));
    assert!(!info.read_only && !info.engine_name.is_empty() && info.queue_depth > 0);
    if let Some(discard) = info.discard {
        assert!(discard.align_bytes.is_power_of_two());
    }
    let info = Rig::with(fixture, true, true).info();
    assert!(info.read_only);
}

fn reads_what_was_written(fixture: &dyn Fixture) {
    let mut rig = Rig::new(fixture);
    let unit = rig.unit();
    for (seed, (offset, len)) in [
        (0, unit),
        (unit, unit),
        (7 * unit, 3 * unit),
        (1 << 20, BUF_BYTES as u64),
        ((2 << 20) - unit, 2 * unit),
        (3 << 20, 1 << 20),
    ]
    .into_iter()
    .enumerate()
    {
        let data = pattern(seed as u64 + 1, len);
        rig.write(offset, &data);
        assert!(rig.read(offset, len) == data, "{len} bytes at {offset} differ");
    }
    // The first ones are still there.
    assert!(rig.read(0, unit) == pattern(1, unit));
    rig.expect_silence(SILENCE);
}

fn works_without_registered_buffers(fixture: &dyn Fixture) {
    let mut rig = Rig::with(fixture, false, false);
    let data = pattern(1, 65536);
    rig.write(65536, &data);
    assert!(rig.read(65536, 65536) == data);
}

fn edges_of_the_medium(fixture: &dyn Fixture) {
    let mut rig = Rig::new(fixture);
    let (unit, size) = (rig.unit(), rig.info().size_bytes);
    let (first, last) = (pattern(1, unit), pattern(2, unit));
    rig.write(0, &first);
    rig.write(size - unit, &last);
    assert!(rig.read(0, unit) == first);
    assert!(rig.read(size - unit, unit) == last);
    let tail = rig.read(size - BUF_BYTES as u64, BUF_BYTES as u64);
    assert!(tail[BUF_BYTES - unit as usize..] == last);
}

fn nothing_beyond_the_end(fixture: &dyn Fixture) {
    let mut rig = Rig::new(fixture);
    let (unit, size) = (rig.unit(), rig.info().size_bytes);
    let last = pattern(1, unit);
    rig.write(size - unit, &last);
    for offset in [size, size - unit, u64::MAX - unit + 1] {
        for kind in [OpKind::Write, OpKind::Read, OpKind::Discard, OpKind::WriteZeroes] {
            let (result, data) = rig.run(kind, ByteRange::new(offset, 2 * unit), &[]);
            // The trait rules these requests out, so an error is right, and a short read is too.
            assert!(
                result.is_err() || (kind == OpKind::Read && data.len() as u64 <= unit),
                "{kind} at {offset}: {result:?}"
            );
        }
    }
    assert!(rig.read(size - unit, unit) == last);
    drop(rig);
    assert_eq!(Rig::new(fixture).info().size_bytes, size, "the medium has grown");
}

fn touches_only_its_part_of_the_buffer(fixture: &dyn Fixture) {
    let mut rig = Rig::new(fixture);
    let unit = rig.unit();
    let data = pattern(1, 2 * unit);
    let (range, at) = (ByteRange::new(5 * unit, 2 * unit), 3 * unit as usize);

    let id = rig.submit_at(OpKind::Write, range, false, &data, at);
    rig.kick();
    let done = rig.wait_done(id);
    assert_eq!(done.result, Ok(2 * unit));
    assert!(done.io.data() == data, "a write has changed its buffer");

    let id = rig.submit_at(OpKind::Read, range, false, &[], at);
    rig.kick();
    let done = rig.wait_done(id);
    assert_eq!(done.result, Ok(2 * unit));
    assert!(done.io.data() == data);
    let bytes = done.io.buf.as_ref().expect("its buffer").bytes();
    let outside = bytes[..at].iter().chain(&bytes[at + data.len()..]);
    assert!(outside.into_iter().all(|byte| *byte == 0xee), "a read has written beside its part");
}

fn flushes(fixture: &dyn Fixture) {
    let mut rig = Rig::new(fixture);
    rig.flush();
    rig.write(0, &pattern(1, 65536));
    rig.flush();
    // Many at once, with writes between them.
    let mut ids = Vec::new();
    for n in 0..rig.slots() as u64 {
        let unit = rig.unit();
        ids.push(match n % 3 {
            0 => {
                rig.submit(OpKind::Write, ByteRange::new(n * unit, unit), false, &pattern(n, unit))
            }
            _ => rig.submit(OpKind::Flush, ByteRange::default(), false, &[]),
        });
    }
    rig.kick();
    for id in ids {
        let (result, _) = rig.wait(id);
        assert!(result.is_ok(), "{result:?}");
    }
    rig.expect_silence(SILENCE);
}

fn content_survives_reopening(fixture: &dyn Fixture) {
    let data = pattern(1, 1 << 20);
    let mut rig = Rig::new(fixture);
    rig.write(4 << 20, &data);
    rig.flush();
    drop(rig);
    assert!(Rig::new(fixture).read(4 << 20, 1 << 20) == data);
    assert!(Rig::with(fixture, true, true).read(4 << 20, 1 << 20) == data);
}

fn fua_writes(fixture: &dyn Fixture) {
    let mut rig = Rig::new(fixture);
    let unit = rig.unit();
    let data = pattern(1, unit);
    let id = rig.submit(OpKind::Write, ByteRange::new(8 * unit, unit), true, &data);
    rig.kick();
    let (result, _) = rig.wait(id);
    if rig.info().fua {
        assert_eq!(result, Ok(unit));
        assert!(rig.read(8 * unit, unit) == data);
    } else {
        assert_eq!(result, Err(IoError::Unsupported), "a promise that can't be kept");
    }
}

fn discards(fixture: &dyn Fixture) {
    let mut rig = Rig::new(fixture);
    let support = rig.info().discard;
    let align = support.map_or(4096, |support| support.align_bytes.max(rig.unit()));
    let range = ByteRange::new(1 << 20, 16 * align);
    let around = ByteRange::new(range.offset_bytes - align, 18 * align);
    let old = pattern(1, around.len_bytes);
    rig.write(around.offset_bytes, &old);
    let (result, _) = rig.run(OpKind::Discard, range, &[]);
    let mut now = rig.read(around.offset_bytes, around.len_bytes);
    let edge = align as usize;
    let inside = edge..edge + range.len_bytes as usize;
    match support {
        None => assert_eq!(result, Err(IoError::Unsupported)),
        Some(support) => {
            assert!(result.is_ok(), "{result:?}");
            if support.reads_zeroes {
                assert!(now[inside.clone()].iter().all(|byte| *byte == 0));
            }
            // Without that promise, anything may be read there.
            now[inside.clone()].copy_from_slice(&old[inside]);
        }
    }
    assert!(now == old, "a discard has changed its neighbours");
    if support.is_some() {
        // Much of it at once, and written again.
        let half = MEDIUM_BYTES / 2;
        assert!(rig.run(OpKind::Discard, ByteRange::new(half, half), &[]).0.is_ok());
        rig.write(half, &old);
        rig.flush();
        assert!(rig.read(half, old.len() as u64) == old);
    }
}

fn write_zeroes(fixture: &dyn Fixture) {
    let mut rig = Rig::new(fixture);
    let unit = rig.unit();
    let range = ByteRange::new((2 << 20) + unit, 33 * unit);
    let old = pattern(1, 35 * unit);
    rig.write(range.offset_bytes - unit, &old);
    let (result, _) = rig.run(OpKind::WriteZeroes, range, &[]);
    let mut now = rig.read(range.offset_bytes - unit, 35 * unit);
    let inside = unit as usize..34 * unit as usize;
    if rig.info().write_zeroes {
        assert!(result.is_ok(), "{result:?}");
        assert!(now[inside.clone()].iter().all(|byte| *byte == 0));
        now[inside.clone()].copy_from_slice(&old[inside]);
    } else {
        assert_eq!(result, Err(IoError::Unsupported));
    }
    assert!(now == old, "write-zeroes has changed its neighbours");
}

fn all_slots_at_once(fixture: &dyn Fixture) {
    let mut rig = Rig::new(fixture);
    let slots = rig.slots() as u64;
    let len = 64 << 10;
    let place = |n: u64, round: u64| (n * 5 + round) % slots * len;
    for round in 0..20 {
        let writes: Vec<IoId> = (0..slots)
            .map(|n| {
                let data = pattern(round * 100 + n, len);
                rig.submit(OpKind::Write, ByteRange::new(place(n, round), len), false, &data)
            })
            .collect();
        assert_eq!(rig.free_slots(), 0);
        rig.kick();
        // Last ones first: the order in which they are asked for must not matter.
        for id in writes.into_iter().rev() {
            assert_eq!(rig.wait(id).0, Ok(len));
        }
        let reads: Vec<(u64, IoId)> = (0..slots)
            .map(|n| {
                (n, rig.submit(OpKind::Read, ByteRange::new(place(n, round), len), false, &[]))
            })
            .collect();
        rig.kick();
        for (n, id) in reads {
            // The last writer of a place counts (5 may divide the number of slots).
            let writer = (0..slots).rev().find(|m| place(*m, round) == place(n, round));
            let (result, data) = rig.wait(id);
            assert_eq!(result, Ok(len));
            let unique = (0..slots).filter(|m| place(*m, round) == place(n, round)).count() == 1;
            assert!(!unique || data == pattern(round * 100 + writer.unwrap_or(n), len));
        }
    }
    rig.expect_silence(SILENCE);
}

fn random_mix_against_a_model(fixture: &dyn Fixture) {
    let mut rig = Rig::new(fixture);
    let info = rig.info();
    let zones = rig.slots() as u64;
    let zone = MEDIUM_BYTES / zones;
    let unit = info.discard.map_or(0, |discard| discard.align_bytes).max(rig.unit());
    let mut model = vec![0_u8; MEDIUM_BYTES as usize];
    rig.write(0, &model);
    let mut random = Random(42);
    // One request in each zone at a time: overlapping ones have no order.
    let mut running: Vec<Option<(IoId, OpKind, ByteRange)>> = vec![None; zones as usize];
    for step in 0..1500 {
        let n = random.below(zones);
        if let Some((id, kind, range)) = running[n as usize].take() {
            let (result, data) = rig.wait(id);
            assert!(result.is_ok(), "{kind} of {range:?}: {result:?}");
            let span = range.offset_bytes as usize..range.end_bytes() as usize;
            match kind {
                OpKind::Read => assert!(data == model[span], "step {step}: {range:?} differs"),
                OpKind::Discard if info.discard.is_some_and(|discard| discard.reads_zeroes) => {
                    model[span].fill(0);
                }
                OpKind::Discard => {
                    let now = rig.read(range.offset_bytes, range.len_bytes);
                    model[span].copy_from_slice(&now);
                }
                OpKind::WriteZeroes => model[span].fill(0),
                OpKind::Write | OpKind::Flush => {}
            }
        }
        if rig.free_slots() < 2 {
            continue; // one is kept for reading what a discard has left
        }
        let units = 1 + random.below((BUF_BYTES as u64).min(zone) / unit);
        let offset = n * zone + random.below(zone / unit - units + 1) * unit;
        let mut range = ByteRange::new(offset, units * unit);
        let kind = match random.below(20) {
            0 if info.discard.is_some() => OpKind::Discard,
            1 if info.write_zeroes => OpKind::WriteZeroes,
            2 => OpKind::Flush,
            3..11 => OpKind::Read,
            _ => OpKind::Write,
        };
        let mut data = Vec::new();
        match kind {
            OpKind::Write => {
                data = pattern(step + 7, range.len_bytes);
                model[offset as usize..range.end_bytes() as usize].copy_from_slice(&data);
            }
            OpKind::Flush => range = ByteRange::default(),
            _ => {}
        }
        let id = rig.submit(kind, range, false, &data);
        rig.kick();
        running[n as usize] = Some((id, kind, range));
    }
    for (id, kind, range) in running.into_iter().flatten() {
        assert!(rig.wait(id).0.is_ok());
        if matches!(kind, OpKind::Discard | OpKind::WriteZeroes) {
            let now = rig.read(range.offset_bytes, range.len_bytes);
            model[range.offset_bytes as usize..range.end_bytes() as usize].copy_from_slice(&now);
        }
    }
    rig.flush();
    drop(rig);
    assert!(Rig::new(fixture).read(0, MEDIUM_BYTES) == model, "the medium differs at the end");
}

fn generations_wrap(fixture: &dyn Fixture) {
    let mut rig = Rig::new(fixture);
    rig.set_generation(u32::MAX - 3);
    let unit = rig.unit();
    for n in 0..10 {
        let data = pattern(n, unit);
        rig.write(n * unit, &data);
        assert!(rig.read(n * unit, unit) == data);
    }
}

fn read_only_refuses_changes(fixture: &dyn Fixture) {
    let data = pattern(1, 4096);
    let mut rig = Rig::new(fixture);
    rig.write(0, &data);
    rig.flush();
    drop(rig);
    let mut rig = Rig::with(fixture, true, true);
    let range = ByteRange::new(0, 4096);
    for kind in [OpKind::Write, OpKind::Discard, OpKind::WriteZeroes] {
        assert_eq!(rig.run(kind, range, &[]).0, Err(IoError::ReadOnly), "{kind}");
    }
    assert!(rig.read(0, 4096) == data);
    rig.flush();
}

fn cancel_hints_are_harmless(fixture: &dyn Fixture) {
    let mut rig = Rig::new(fixture);
    let (unit, len) = (rig.unit(), 64 << 10);
    rig.cancel_hint(IoId { slot: 0, generation: 77 });
    rig.cancel_hint(IoId { slot: u16::MAX, generation: 0 });
    let mut random = Random(7);
    let mut old: Vec<Vec<u8>> = Vec::new();
    for n in 0..rig.slots() as u64 {
        old.push(pattern(1000 + n, len));
        rig.write(n * len, &old[n as usize]);
    }
    for round in 0..30_u64 {
        let ids: Vec<IoId> = (0..rig.slots() as u64)
            .map(|n| {
                let range = ByteRange::new(n * len, len);
                match n % 4 {
                    0 | 1 => rig.submit(OpKind::Write, range, false, &pattern(round * 50 + n, len)),
                    2 => rig.submit(OpKind::Read, range, false, &[]),
                    _ => rig.submit(OpKind::Flush, ByteRange::default(), false, &[]),
                }
            })
            .collect();
        // Some before they are on their way, some after, some twice.
        for id in &ids {
            if random.below(4) == 0 {
                rig.cancel_hint(*id);
            }
        }
        rig.kick();
        for id in &ids {
            if random.below(2) == 0 {
                rig.cancel_hint(*id);
            }
        }
        for (n, id) in ids.into_iter().enumerate() {
            let (result, data) = rig.wait(id);
            rig.cancel_hint(id); // too late
            match n % 4 {
                2 if result.is_ok() => assert!(data == old[n][..data.len()]),
                0 | 1 => {
                    // Let go of: each unit is old or new, and stays what it is.
                    let new = pattern(round * 50 + n as u64, len);
                    let now = rig.read(n as u64 * len, len);
                    for at in (0..len as usize).step_by(unit as usize) {
                        let span = at..at + unit as usize;
                        let is_new = now[span.clone()] == new[span.clone()];
                        assert!(is_new || now[span.clone()] == old[n][span.clone()]);
                        assert!(is_new || result != Ok(len), "reported as written, but it isn't");
                    }
                    old[n] = now;
                }
                _ => {}
            }
        }
    }
    rig.expect_silence(SILENCE);
    for (n, content) in old.iter().enumerate() {
        assert!(rig.read(n as u64 * len, len) == *content, "changed after it was let go of");
    }
    rig.flush();
}

fn signals_and_falls_silent(fixture: &dyn Fixture) {
    let mut rig = Rig::new(fixture);
    let unit = rig.unit();
    rig.expect_silence(SILENCE);
    for n in 0..50 {
        let kind = [OpKind::Write, OpKind::Flush, OpKind::Read][n % 3];
        let range = if kind == OpKind::Flush {
            ByteRange::default()
        } else {
            ByteRange::new(n as u64 * unit, unit)
        };
        let id = rig.submit(kind, range, false, &[]);
        rig.kick();
        // Polls only when told to: were a signal lost, this would take for ever.
        let deadline = Instant::now() + super::PATIENCE;
        loop {
            let signalled = rig.wait_for_signal(Duration::from_secs(1));
            if (signalled || rig.must_poll_anyway()) && rig.poll() > 0 {
                break;
            }
            assert!(Instant::now() < deadline, "no signal for {kind}");
        }
        assert!(rig.wait(id).0.is_ok());
    }
    rig.expect_silence(SILENCE);
}

fn dropped_with_requests_in_flight(fixture: &dyn Fixture) {
    let len = 64 << 10;
    let mut rig = Rig::new(fixture);
    let slots = rig.slots() as u64;
    for n in 0..slots {
        rig.write(n * len, &pattern(n, len));
    }
    for n in 0..slots {
        let range = ByteRange::new(n * len, len);
        match n % 3 {
            0 => rig.submit(OpKind::Read, range, false, &[]),
            _ => rig.submit(OpKind::Write, range, false, &pattern(n + 500, len)),
        };
    }
    rig.kick();
    let start = Instant::now();
    drop(rig);
    assert!(start.elapsed() < Duration::from_secs(1), "dropping took {:?}", start.elapsed());
    let mut rig = Rig::new(fixture);
    for n in 0..slots {
        let (old, new) = (pattern(n, len), pattern(n + 500, len));
        let now = rig.read(n * len, len);
        for at in (0..len as usize).step_by(512) {
            let span = at..at + 512;
            assert!(now[span.clone()] == old[span.clone()] || now[span.clone()] == new[span]);
        }
    }
}
