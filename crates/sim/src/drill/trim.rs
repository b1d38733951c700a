//! A round in which the storage sits on a TRIM.

use freewheel_block::ByteRange;

use super::medium::mix;
use super::rig::{CANARY, Rig, STUCK};
use super::round::not_into_a_busy_device;
use super::{Clause, EventKind};
use crate::{Command, ResetWay};

/// Ranges of the largest TRIM.
const MOST_RANGES: u64 = 512;
/// What is written over a range, in bytes.
const WRITE_BYTES: u64 = 4096;

impl Rig<'_> {
    /// Where the TRIMs go: ranges that the backend can discard whole, with gaps of the same size.
    /// Empty if the disk has no TRIM, or no room.
    fn trim_ranges(&mut self) -> Vec<ByteRange> {
        let Some(engine) = self.machine.engine(STUCK) else { return Vec::new() };
        let size_bytes = engine.info().size_bytes;
        let Some(discard) = engine.info().discard else { return Vec::new() };
        if !self.identity.trim {
            return Vec::new();
        }
        let len_bytes = discard.align_bytes.max(WRITE_BYTES);
        // An entry of a TRIM has 16 bits for its sectors.
        if len_bytes / u64::from(self.identity.sector_bytes) > u64::from(u16::MAX) {
            return Vec::new();
        }
        let chunks = self.medium.chunk_count();
        let start = self.medium.range(chunks).offset_bytes.next_multiple_of(len_bytes);
        let count = size_bytes.saturating_sub(start) / (2 * len_bytes);
        (0..count.min(MOST_RANGES))
            .map(|index| ByteRange::new(start + index * 2 * len_bytes, len_bytes))
            .collect()
    }

    /// One reset with a TRIM that hangs.
    pub(super) fn trim_round(&mut self, way: ResetWay) {
        let ranges = self.trim_ranges();
        if ranges.is_empty() || self.is_hopeless() {
            return;
        }
        self.begin_round(0);
        let way = not_into_a_busy_device(way);
        let sector_bytes = self.identity.sector_bytes;
        let lba = |offset_bytes: u64| offset_bytes / u64::from(sector_bytes);
        let entries: Vec<_> = ranges
            .iter()
            .map(|range| (lba(range.offset_bytes), lba(range.len_bytes) as u16))
            .collect();
        let (trim, payload) = Command::trim(&entries);

        self.heal();
        self.hang();
        self.driver.use_bank(0);
        self.driver.fill(&self.machine, 0, &payload);
        self.driver.issue(&mut self.machine, 0, &trim);
        self.tell(EventKind::Doorbell { slots: 1, what: "a TRIM of up to 512 ranges" });
        self.machine.poll();
        // One, since a kernel may make the others wait for it.
        self.arrive(1);
        let stuck = self.parked();
        self.tell(EventKind::Stuck { requests: stuck });
        self.check(Clause::C1, stuck > 0, || "the TRIM did not reach the storage".into());
        self.machine.ram.take_breaches();
        self.machine.ram.arm();
        self.reset(way, 1);
        let bank = self.driver.layout().bank(0);
        self.machine.ram.fill(bank.clone(), CANARY);

        // Which of its ranges the engine has handed over is its own business; that it says so is
        // not.
        let in_doubt = self.in_doubt();
        let all_known = in_doubt.iter().all(|range| ranges.contains(range));
        self.check(Clause::C7, all_known && in_doubt.len() == stuck, || {
            format!("a TRIM has {stuck} ranges in the storage; in doubt are {in_doubt:?}")
        });
        self.account(&in_doubt, &in_doubt);
        self.come_back(way);
        self.heal();
        self.driver.use_bank(1);
        if let Some(fenced) = in_doubt.first() {
            self.write_over_a_trim(*fenced);
        }
        self.machine.ram.disarm();
        let changed = self.machine.ram.first_other_than(bank, CANARY);
        let (_, breaches) = self.machine.ram.take_breaches();
        self.check(Clause::C3, changed.is_none() && breaches == 0, || {
            "memory of a cancelled TRIM was touched".into()
        });
    }

    /// A write over the range waits, a read beside it does not, and the write's data stays.
    fn write_over_a_trim(&mut self, fenced: ByteRange) {
        let sector_bytes = self.identity.sector_bytes;
        let sectors = (WRITE_BYTES / u64::from(sector_bytes)) as u16;
        let lba = fenced.offset_bytes / u64::from(sector_bytes);
        let beside = fenced.end_bytes() / u64::from(sector_bytes);
        let data: Vec<u8> =
            (0..WRITE_BYTES / 8).flat_map(|word| mix(lba ^ word << 40).to_le_bytes()).collect();
        self.driver.fill(&self.machine, 0, &data);
        let commands = [
            (0, Command::write_queued(lba, sectors, sector_bytes)),
            (1, Command::read_queued(beside, sectors, sector_bytes)),
        ];
        self.driver.issue_all(&mut self.machine, &commands);
        self.tell(EventKind::Doorbell {
            slots: 0b11,
            what: "a write over the TRIM, a read beside it",
        });
        self.await_slots(0b10, Clause::C4, "a read beside a TRIM that hangs");
        let (in_flight, held) = (self.driver.in_flight(), self.held());
        self.check(Clause::C4, in_flight == 0b01 && held == 1, || {
            "a write over a TRIM that hangs was not held".into()
        });
        self.tell(EventKind::Held { slots: in_flight });
        let start = self.machine.now();
        self.release();
        self.await_slots(0b01, Clause::C4, "the write over the TRIM");
        self.drain(Clause::C6);
        let took_ns = self.machine.now().since(start);
        self.tell(EventKind::Drained { took_ns });
        self.driver.issue(&mut self.machine, 2, &Command::read_queued(lba, sectors, sector_bytes));
        if self.await_slots(0b100, Clause::C4, "reading back") {
            let found = self.driver.data(&self.machine, 2, WRITE_BYTES as usize);
            self.check(Clause::C4, found == data, || {
                format!("an old TRIM took a newer write away at LBA {lba}")
            });
        }
    }
}
