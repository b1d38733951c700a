//! Storage that fails, dawdles, and completes at the worst moment (C8).

use freewheel_block::OpKind;
use freewheel_block::fault::{FaultAction, OpMatch};

use super::medium::{ZEROES, mix};
use super::rig::{Rig, Task, numbered};
use super::{Clause, EventKind};
use crate::{Command, DriverError, ResetWay};

/// `EIO`.
const EIO: i32 = 5;
/// `ENOSPC`.
const ENOSPC: i32 = 28;
/// The longest random delay.
const LONGEST_DELAY_NS: u64 = 300_000;

impl Rig<'_> {
    /// All of it.
    pub(super) fn trouble(&mut self) {
        self.begin_round(0);
        self.driver.use_bank(0);
        self.errors();
        self.releases_in_the_middle();
        self.dawdling();
        self.heal();
        self.read_back(Clause::C4);
    }

    fn tell_trouble(&mut self, what: &'static str, before: u64, tried: u32) {
        let failed = self.violations().saturating_sub(before);
        let survived = tried.saturating_sub(failed as u32);
        self.tell(EventKind::Trouble { what, survived, tried });
    }

    /// Each kind of command fails once; the guest recovers as an operating system does.
    fn errors(&mut self) {
        let before = self.violations();
        let sector_bytes = self.identity.sector_bytes;
        let sectors = self.medium.sectors();
        let lba = self.medium.lba(0);
        let (trim, payload) = Command::trim(&[(lba, sectors)]);
        let mut cases = vec![
            (OpKind::Read, EIO, Command::read_queued(lba, sectors, sector_bytes)),
            (OpKind::Write, ENOSPC, Command::write_queued(lba, sectors, sector_bytes)),
            (OpKind::Read, EIO, Command::read_dma(lba, sectors, sector_bytes)),
            (OpKind::Write, EIO, Command::write_dma(lba, sectors, sector_bytes)),
            (OpKind::Flush, EIO, Command::flush()),
        ];
        if self.identity.trim {
            cases.push((OpKind::Discard, EIO, trim));
        }
        let tried = cases.len() as u32;
        for (kind, errno, command) in cases {
            let always = OpMatch { kind: Some(kind), lba: None, nth: None, probability: None };
            self.inject(always, FaultAction::Error(errno));
            // A write that failed may have done what it was asked to, here and elsewhere.
            let (version, data) = if kind == OpKind::Discard {
                (ZEROES, payload.clone())
            } else {
                let version = self.medium.next_version();
                (version, self.medium.content(0, version))
            };
            self.driver.fill(&self.machine, 0, &data);
            self.medium.may_become(0, version);
            let patience_ns = self.config.patience_ns;
            let result = self.driver.run(&mut self.machine, 0, &command, patience_ns);
            self.check(Clause::C8, matches!(result, Err(DriverError::Port { .. })), || {
                format!("a {kind} that failed with error {errno} ended with {result:?}")
            });
            self.heal();
            let log = self.driver.recover_queue(&mut self.machine, patience_ns);
            let named = match &log {
                Ok(Some(log)) => !command.queued || log.tag == Some(0),
                _ => false,
            };
            self.check(Clause::C8, named, || {
                format!("after a {kind} that failed the error log is {log:?}")
            });
            self.next_command_works();
        }
        self.tell_trouble("commands that fail", before, tried);
    }

    /// The storage comes back while the guest is in the middle of its reset.
    fn releases_in_the_middle(&mut self) {
        let before = self.violations();
        let mut tried = 0;
        for way in ResetWay::ALL {
            for polled in [false, true] {
                tried += 1;
                if self.is_hopeless() {
                    return;
                }
                self.heal();
                self.hang_quietly();
                let tasks = self.random_tasks(u64::from(tried));
                self.issue(&tasks);
                self.machine.poll();
                self.may_become(&tasks);
                self.arrive(tasks.len());
                let stall = &mut self.stall;
                let outcome = self.driver.reset_with(&mut self.machine, way, |machine| {
                    let now = machine.now();
                    stall.clear(machine);
                    stall.release(machine, now);
                    if polled {
                        machine.poll();
                    }
                });
                self.note_reset(way, outcome.took_ns);
                self.after_a_race(way, outcome.ended);
            }
        }
        self.tell_trouble("releases in the middle of a reset", before, tried);
    }

    /// Random delays, and resets at random moments: some commands have ended, some have not.
    fn dawdling(&mut self) {
        let before = self.violations();
        let mut tried = 0;
        for round in 0..self.config.rounds {
            if self.is_hopeless() {
                return;
            }
            tried += 1;
            let random = mix(self.config.seed ^ u64::from(round) << 20);
            self.heal();
            for part in 0..4 {
                let delay_ns = mix(random ^ part) % LONGEST_DELAY_NS;
                let matching = OpMatch {
                    kind: None,
                    lba: None,
                    nth: None,
                    probability: (part < 3).then_some(0.25),
                };
                self.inject(matching, FaultAction::Delay(delay_ns));
            }
            let tasks = self.random_tasks(random);
            self.issue(&tasks);
            self.machine.run_for(random >> 32 & 0x3_ffff);
            let ended = self.driver.collect(&mut self.machine).ended;
            let (done, open): (Vec<_>, Vec<_>) =
                tasks.iter().partition(|(slot, _)| ended & 1 << slot != 0);
            self.settle_tasks(&done, Clause::C2, "a command that ended before the reset");
            self.may_become(&open);
            let way = ResetWay::ALL[(random >> 8) as usize % ResetWay::ALL.len()];
            let outcome = self.driver.reset(&mut self.machine, way);
            self.note_reset(way, outcome.took_ns);
            self.after_a_race(way, outcome.ended);
        }
        self.tell_trouble("resets at random moments", before, tried);
    }

    fn random_tasks(&mut self, seed: u64) -> Vec<(u8, Task)> {
        let version = self.medium.next_version();
        let count = self.medium.chunk_count() as u64;
        let offset = mix(seed) % count;
        let tasks: Vec<_> = (0..u64::from(self.tags))
            .map(|tag| {
                let chunk = ((tag + offset) % count) as usize;
                match mix(seed ^ tag << 8) % 2 {
                    0 => Task::Write { chunk, version },
                    _ => Task::Read { chunk },
                }
            })
            .collect();
        numbered(&tasks)
    }

    fn may_become(&mut self, tasks: &[(u8, Task)]) {
        for (_, task) in tasks {
            if let Task::Write { chunk, version } = *task {
                self.medium.may_become(chunk, version);
            }
        }
    }

    /// After a reset that met completions: everything is as after any other.
    fn after_a_race(&mut self, way: ResetWay, ended: bool) {
        self.check(Clause::C1, ended, || {
            format!("{}: did not end when the storage came back in the middle", way.name())
        });
        self.assert_consistent();
        self.come_back(way);
        self.heal();
        self.next_command_works();
        self.drain(Clause::C8);
        self.assert_consistent();
    }

    fn next_command_works(&mut self) {
        let chunk = self.medium.chunk_count() - 1;
        let version = self.medium.next_version();
        for task in [Task::Write { chunk, version }, Task::Read { chunk }] {
            let tasks = [(0, task)];
            let slots = self.issue(&tasks);
            if self.await_slots(slots, Clause::C8, "the command after the trouble") {
                self.settle_tasks(&tasks, Clause::C8, "the command after the trouble");
            }
        }
    }
}
