//! One round: the queue is full, the storage hangs, the guest resets and goes on.

use freewheel_block::fault::{FaultAction, OpMatch};
use freewheel_block::{ByteRange, OpKind};

use super::medium::CHUNK_BYTES;
use super::rig::{BLANK, CANARY, Rig, STUCK, Task, numbered};
use super::{Clause, EventKind};
use crate::{Command, ResetWay};

/// How long the storage sits on a flush.
const FLUSH_DELAY_NS: u64 = 2_000_000;
/// How long the storage sits on what is issued while orphans end.
const REUSE_DELAY_NS: u64 = 2_000_000;
/// How long the drill watches what must not happen.
const WATCH_NS: u64 = 300_000;

impl Rig<'_> {
    /// A round of `way`.
    pub(super) fn round(&mut self, way: ResetWay, round: u32) {
        self.begin_round(round);
        let tags = usize::from(self.tags);
        let old_bank = round as usize % 2;
        let completed_before = self.status().counters.completed_total;
        let answered_before = self.answered_total;
        let spurious_before = self.status().counters.spurious_total;

        // The storage hangs, and the guest fills its queue.
        self.driver.use_bank(old_bank);
        let stuck = self.fill_the_queue();
        self.machine.ram.take_breaches();
        self.machine.ram.arm();
        let refused = self.machine.ram.refused_total();

        // It gives up and resets.
        self.reset(way, tags as u64);
        let refused = self.machine.ram.refused_total() - refused;
        self.check(Clause::C3, refused == 0, || {
            format!("{}: the device reached for unmapped memory {refused} times", way.name())
        });
        let bank = self.driver.layout().bank(old_bank);
        self.machine.ram.fill(bank.clone(), CANARY);
        self.tell(EventKind::Canary { bytes: bank.end - bank.start });
        let ranges: Vec<ByteRange> = (0..tags).map(|tag| self.medium.range(tag)).collect();
        let written: Vec<ByteRange> = ranges.iter().copied().step_by(2).collect();
        self.account(&ranges, &written);
        self.come_back(way);

        // It uses its tags again at once, elsewhere on the disk, and flushes.
        self.heal();
        self.driver.use_bank(old_bank + 1);
        self.use_tags_elsewhere();
        let still_stuck = self.parked();
        self.check(Clause::C4, still_stuck == stuck, || "the orphans were not left alone".into());
        if !self.is_real() {
            self.flush_past_orphans(stuck);
        }

        // It touches what orphans may still change.
        if self.identity.trim && (round as usize + way as usize).is_multiple_of(2) {
            self.cancel_a_held_trim(way, tags);
        }
        let held = self.touch_fenced_ranges();
        self.release_and_drain(held);
        if self.is_real() {
            self.flush_that_hangs(way, round);
        }

        let chunks = self.read_back(Clause::C4);
        self.judge_memory(bank, chunks);
        let status = self.status();
        let completed = status.counters.completed_total - completed_before;
        let answered = self.answered_total - answered_before;
        self.check(Clause::C2, completed == answered, || {
            format!("the engine answered {completed} commands, the guest saw {answered} end")
        });
        let spurious = status.counters.spurious_total - spurious_before;
        self.check(Clause::C2, spurious == 0, || format!("{spurious} completions matched nothing"));
    }

    /// All tags: even ones write, odd ones read, and all of it hangs. Returns how many requests
    /// the storage has.
    fn fill_the_queue(&mut self) -> usize {
        self.heal();
        self.hang();
        let stale = self.medium.next_version();
        let tags = usize::from(self.tags);
        let tasks: Vec<_> = (0..tags)
            .map(|chunk| match chunk % 2 {
                0 => Task::Write { chunk, version: stale },
                _ => Task::Read { chunk },
            })
            .collect();
        let slots = self.issue(&numbered(&tasks));
        self.tell(EventKind::Doorbell { slots, what: "reads and writes, mixed" });
        self.machine.poll();
        for chunk in (0..tags).step_by(2) {
            self.medium.may_become(chunk, stale);
        }
        self.arrive(tags);
        let stuck = self.parked();
        self.tell(EventKind::Stuck { requests: stuck });
        self.check(Clause::C1, stuck == tags, || {
            format!(
                "{stuck} requests hang instead of {tags}: this round proves less than it should"
            )
        });
        let running = self.status().counters.running_now;
        self.check(Clause::C9, running == tags as u64, || {
            format!("{tags} commands hang, and {running} are shown as running")
        });
        stuck
    }

    fn use_tags_elsewhere(&mut self) {
        let version = self.medium.next_version();
        let tags = usize::from(self.tags);
        let tasks: Vec<_> = (tags..2 * tags)
            .map(|chunk| match chunk % 2 {
                0 => Task::Write { chunk, version },
                _ => Task::Read { chunk },
            })
            .collect();
        self.run_tasks(&numbered(&tasks), Clause::C2, "the same tags again, elsewhere");
        // That they went on although the storage hangs is the other half of the fence.
        let in_flight = self.driver.in_flight();
        self.check(Clause::C4, in_flight == 0, || {
            format!("commands beside every fence were held: {in_flight:#010x}")
        });
    }

    /// A flush passes the orphans, waits for the storage, and for nothing else.
    fn flush_past_orphans(&mut self, stuck: usize) {
        let first =
            OpMatch { kind: Some(OpKind::Flush), lba: None, nth: Some(1), probability: None };
        self.inject(first, FaultAction::Delay(FLUSH_DELAY_NS));
        let start = self.machine.now();
        self.driver.issue(&mut self.machine, 0, &Command::flush());
        self.tell(EventKind::Doorbell { slots: 1, what: "FLUSH CACHE EXT" });
        self.machine.poll();
        let arrived = self.parked();
        self.check(Clause::C5, arrived == stuck + 1, || {
            "a flush did not reach the storage at once".into()
        });
        if self.await_slots(1, Clause::C5, "a flush while orphans hang") {
            let took_ns = self.machine.now().since(start);
            self.check(Clause::C5, took_ns >= FLUSH_DELAY_NS, || {
                format!("a flush was answered after {took_ns} ns; the storage had it for longer")
            });
            self.tell(EventKind::Ended { slots: 1, what: "FLUSH CACHE EXT", took_ns });
        }
        let left = self.parked();
        self.check(Clause::C5, left == stuck, || "a flush moved orphans".into());
        self.heal();
    }

    /// A flush that hangs in the storage is not answered before the storage has done it, and can
    /// be cancelled like anything else.
    fn flush_that_hangs(&mut self, way: ResetWay, round: u32) {
        self.hang();
        self.driver.issue(&mut self.machine, 0, &Command::flush());
        self.tell(EventKind::Doorbell { slots: 1, what: "FLUSH CACHE EXT" });
        self.machine.poll();
        self.arrive(1);
        self.machine.run_for(WATCH_NS);
        let ended = self.driver.collect(&mut self.machine).ended;
        self.check(Clause::C5, ended == 0, || {
            "a flush was answered while the storage had not done it".into()
        });
        self.heal();
        if round % 2 == 1 {
            self.reset(not_into_a_busy_device(way), 1);
            self.come_back(way);
            self.release();
            self.drain(Clause::C6);
            return;
        }
        let start = self.machine.now();
        self.release();
        if self.await_slots(1, Clause::C5, "a flush that hung in the storage") {
            let took_ns = self.machine.now().since(start);
            self.tell(EventKind::Ended { slots: 1, what: "FLUSH CACHE EXT", took_ns });
        }
    }

    /// A TRIM over fenced ranges is held, and another reset takes it back at once.
    fn cancel_a_held_trim(&mut self, way: ResetWay, orphans: usize) {
        let way = not_into_a_busy_device(way);
        let sectors = self.medium.sectors();
        let ranges: Vec<_> =
            (0..orphans).step_by(2).map(|chunk| (self.medium.lba(chunk), sectors)).collect();
        let (trim, payload) = Command::trim(&ranges);
        self.driver.fill(&self.machine, 0, &payload);
        self.driver.issue(&mut self.machine, 0, &trim);
        self.tell(EventKind::Doorbell { slots: 1, what: "a TRIM over the fences" });
        self.machine.run_for(WATCH_NS);
        let ended = self.driver.collect(&mut self.machine).ended;
        let held = self.held();
        self.check(Clause::C4, ended == 0 && held == 1, || {
            "a TRIM over fenced ranges was not held".into()
        });
        self.tell(EventKind::Held { slots: 1 });
        self.reset(way, 1);
        let status = self.status();
        let orphans_now = status.orphans.len();
        self.check(Clause::C6, orphans_now == orphans && status.operations.is_empty(), || {
            "a held command could not be cancelled at once".into()
        });
        self.come_back(way);
    }

    /// Writes over some orphans' ranges, reads others: what is fenced is held, the rest goes on.
    /// Returns what is held.
    fn touch_fenced_ranges(&mut self) -> Vec<(u8, Task)> {
        let newer = self.medium.next_version();
        let tasks: Vec<_> = (0..usize::from(self.tags))
            .map(|chunk| match chunk % 4 {
                0 => Task::Write { chunk, version: newer },
                _ => Task::Read { chunk },
            })
            .collect();
        let tasks = numbered(&tasks);
        let slots = self.issue(&tasks);
        self.tell(EventKind::Doorbell { slots, what: "newer writes and reads of the same ranges" });
        let (fenced, free): (Vec<_>, Vec<_>) = tasks.iter().partition(|(slot, _)| slot % 2 == 0);
        let mask = |tasks: &[(u8, Task)]| tasks.iter().fold(0, |mask, (slot, _)| mask | 1 << slot);
        if self.await_slots(mask(&free), Clause::C4, "reads of what no orphan can change") {
            self.settle_tasks(&free, Clause::C4, "a read beside the fences");
        }
        self.machine.run_for(WATCH_NS);
        self.driver.collect(&mut self.machine);
        let in_flight = self.driver.in_flight();
        self.check(Clause::C4, in_flight == mask(&fenced), || {
            format!("held should be {:#010x}, in flight is {in_flight:#010x}", mask(&fenced))
        });
        let held = self.held();
        self.check(Clause::C9, held == fenced.len(), || {
            format!("{} commands are held, and {held} are shown", fenced.len())
        });
        self.tell(EventKind::Held { slots: in_flight });
        fenced
    }

    /// The storage comes back. Tags that are free are used again in the same moment.
    fn release_and_drain(&mut self, held: Vec<(u8, Task)>) {
        let start = self.machine.now();
        self.release();
        let tags = self.tags;
        let again: Vec<_> = (0..tags)
            .filter(|slot| slot % 2 == 1 && self.driver.in_flight() & 1 << slot == 0)
            .map(|slot| (slot, Task::Read { chunk: usize::from(tags) + usize::from(slot) }))
            .collect();
        self.reuse_while_orphans_end(&again);
        let all: Vec<_> = held.into_iter().chain(again).collect();
        let slots = all.iter().fold(0, |slots, (slot, _)| slots | 1 << slot);
        if self.await_slots(slots, Clause::C2, "commands on the tags of orphans that end") {
            self.settle_tasks(&all, Clause::C4, "after the release");
        }
        self.drain(Clause::C6);
        let took_ns = self.machine.now().since(start);
        self.tell(EventKind::Drained { took_ns });
    }

    /// Reads on the tags of orphans are under way while those orphans end: they are not completed
    /// by them, and get none of their data.
    fn reuse_while_orphans_end(&mut self, again: &[(u8, Task)]) {
        let any = OpMatch { kind: None, lba: None, nth: None, probability: None };
        self.inject(any, FaultAction::Delay(REUSE_DELAY_NS));
        let start = self.machine.now();
        let slots = self.issue(again);
        self.machine.run_until(REUSE_DELAY_NS / 2, |machine| {
            machine.engine(STUCK).is_none_or(|engine| engine.counters().orphans_now == 0)
        });
        self.heal();
        let ended = self.driver.collect(&mut self.machine).ended;
        if self.machine.now().since(start) >= REUSE_DELAY_NS {
            return; // this machine is too busy to tell
        }
        self.check(Clause::C2, ended & slots == 0, || {
            format!("orphans completed the new commands {:#010x}", ended & slots)
        });
        for (slot, _) in again {
            let data = self.driver.data(&self.machine, *slot, CHUNK_BYTES as usize);
            let untouched = data.iter().all(|byte| *byte == BLANK);
            self.check(Clause::C3, untouched, || {
                format!("an orphan's data went to the new command on tag {slot}")
            });
        }
    }

    /// The memory of cancelled commands is as it was painted, and nothing else was touched.
    fn judge_memory(&mut self, bank: std::ops::Range<u64>, chunks: usize) {
        self.machine.ram.disarm();
        let changed = self.machine.ram.first_other_than(bank.clone(), CANARY);
        self.check(Clause::C3, changed.is_none(), || {
            format!("memory of a cancelled command was changed at {:#x}", changed.unwrap_or(0))
        });
        let (breaches, total) = self.machine.ram.take_breaches();
        self.check(Clause::C3, total == 0, || {
            format!(
                "the device touched memory that no live command gave it, {total} times: {:x?}",
                breaches.first()
            )
        });
        self.tell(EventKind::Checked { canary_bytes: bank.end - bank.start, chunks });
    }
}

/// The port sends nothing to a device that is busy with a command that isn't queued.
pub(super) fn not_into_a_busy_device(way: ResetWay) -> ResetWay {
    match way {
        ResetWay::SoftwareResetRunning => ResetWay::SoftwareReset,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use freewheel_ahci::GuestMemory;
    use freewheel_ata::{Device, Disk, DiskConfig};
    use freewheel_block::fault::FaultLayer;
    use freewheel_block::{Engine, EngineConfig};

    use super::*;
    use crate::drill::DrillConfig;
    use crate::{MemoryDisk, MemoryDiskConfig, VirtualClock};

    fn device() -> Box<dyn Device> {
        let disk = MemoryDisk::new(&MemoryDiskConfig::default());
        let layer = FaultLayer::new(Box::new(disk), 512, [], 1).expect("no faults");
        let engine = Engine::new(Box::new(layer), EngineConfig::default());
        Box::new(Disk::new(DiskConfig::default(), engine).expect("a good disk"))
    }

    /// What C3 says after a device has done `mischief` to the first bytes of a cancelled command.
    fn violations_after(mischief: impl FnOnce(&dyn GuestMemory, u64)) -> u64 {
        let mut ignore = |_: &crate::drill::Event| {};
        let clock = Box::new(VirtualClock::default());
        let mut rig =
            Rig::new(device(), device(), None, clock, DrillConfig::default(), &mut ignore)
                .expect("a drill");
        rig.fill_the_queue();
        rig.machine.ram.arm();
        rig.reset(ResetWay::Stop, 32);
        let bank = rig.driver.layout().bank(0);
        rig.machine.ram.fill(bank.clone(), CANARY);
        rig.come_back(ResetWay::Stop);
        mischief(&rig.machine.ram, bank.start);
        rig.judge_memory(bank, 0);
        rig.into_report(true).verdicts.of(Clause::C3).violations_total
    }

    #[test]
    fn c3_sees_a_late_write_even_of_the_same_value_and_a_late_read() {
        assert_eq!(violations_after(|_, _| {}), 0);
        let write =
            |value| move |ram: &dyn GuestMemory, at| ram.write(at, &[value]).expect("mapped");
        assert_eq!(violations_after(write(1)), 2, "seen in the paint and at the bus");
        assert_eq!(violations_after(write(CANARY)), 1, "seen at the bus");
        assert_eq!(violations_after(|ram, at| ram.read(at, &mut [0]).expect("mapped")), 1);
    }
}
