//! Resets without release, until every slot is an orphan's (C6).

use super::rig::{NEIGHBOUR, Rig, STUCK, Task, numbered};
use super::{Clause, EventKind};
use crate::{Command, ResetWay};

/// Commands of the other disk meanwhile.
const NEIGHBOUR_COMMANDS: u32 = 32;

impl Rig<'_> {
    /// Spends the budget, and what happens then.
    pub(super) fn budget(&mut self) {
        self.begin_round(0);
        let way = ResetWay::Comreset;
        let tags = usize::from(self.tags);
        let slots = self.status().slots;
        self.heal();
        self.hang();
        let stale = self.medium.next_version();
        let mut resets = 0;
        let most = (slots / tags + 2) as u32;
        while self.status().free_slots > 0 && resets < most {
            // Writes once; reads where no fence is, from then on.
            let tasks: Vec<_> = (0..tags)
                .map(|chunk| match (resets, chunk % 2) {
                    (0, 0) => Task::Write { chunk, version: stale },
                    (0, _) => Task::Read { chunk },
                    _ => Task::Read { chunk: tags + chunk },
                })
                .collect();
            let issued = self.issue(&numbered(&tasks));
            self.tell(EventKind::Doorbell { slots: issued, what: "once more, and nobody lets go" });
            self.machine.poll();
            let parked = self.parked();
            self.arrive(parked);
            self.reset(way, tags as u64);
            self.come_back(way);
            resets += 1;
        }
        for chunk in (0..tags).step_by(2) {
            self.medium.may_become(chunk, stale);
        }
        let (free, parked) = (self.status().free_slots, self.parked());
        self.check(Clause::C6, free == 0 && parked == slots, || {
            format!("after {resets} resets {free} slots are free, and {parked} requests hang")
        });

        // What comes now is queued, and goes no further.
        let tasks: Vec<_> = (0..tags).map(|chunk| Task::Read { chunk: tags + chunk }).collect();
        let tasks = numbered(&tasks);
        self.issue(&tasks);
        self.machine.poll();
        let queued = self.status().counters.queued_now;
        let parked = self.parked();
        self.check(Clause::C6, queued == tags as u64 && parked == slots, || {
            format!("{queued} of {tags} commands are queued, and {parked} requests hang")
        });
        self.tell(EventKind::BudgetSpent { resets, queued });
        self.work_next_door();

        // It can be cancelled, and issued again.
        self.reset(way, tags as u64);
        let status = self.status();
        let orphans = status.orphans.len();
        self.check(Clause::C6, status.operations.is_empty() && orphans == slots, || {
            format!(
                "cancelling what was queued left {} operations, {orphans} orphans",
                status.operations.len()
            )
        });
        self.come_back(way);
        self.heal();
        let issued = self.issue(&tasks);
        self.machine.poll();
        let start = self.machine.now();
        self.release();
        if self.await_slots(issued, Clause::C6, "what was queued, after the release") {
            self.settle_tasks(&tasks, Clause::C6, "what was queued");
        }
        self.drain(Clause::C6);
        let took_ns = self.machine.now().since(start);
        self.tell(EventKind::Drained { took_ns });
        self.read_back(Clause::C4);
    }

    /// The other disk is used while this one has nothing left.
    fn work_next_door(&mut self) {
        let patience_ns = self.config.patience_ns;
        let identity = self.neighbour.identify(&mut self.machine, patience_ns);
        let (sector_bytes, tags) = match identity {
            Ok(identity) => (identity.sector_bytes, u32::from(identity.queue_depth)),
            Err(_) => (512, 1),
        };
        let mut longest_ns = 0;
        let mut ended = 0;
        for index in 0..NEIGHBOUR_COMMANDS {
            let slot = (index % tags) as u8;
            let data = vec![index as u8 | 0x40; sector_bytes as usize * 8];
            let lba = u64::from(index / 2) * 8;
            let start = self.machine.now();
            let command = if index % 2 == 0 {
                self.neighbour.fill(&self.machine, slot, &data);
                Command::write_queued(lba, 8, sector_bytes)
            } else {
                Command::read_queued(lba, 8, sector_bytes)
            };
            let result = self.neighbour.run(&mut self.machine, slot, &command, patience_ns);
            longest_ns = longest_ns.max(self.machine.now().since(start));
            ended += u32::from(result.is_ok());
            self.check(Clause::C6, result.is_ok(), || {
                format!("the disk on port {NEIGHBOUR} suffers from the one on port {STUCK}")
            });
            if index % 2 == 1 && result.is_ok() {
                let found = self.neighbour.data(&self.machine, slot, data.len());
                let right = found.iter().all(|byte| *byte == (index - 1) as u8 | 0x40);
                self.check(Clause::C6, right, || "the other disk returned other data".into());
            }
        }
        self.neighbour_longest_ns = self.neighbour_longest_ns.max(longest_ns);
        self.tell(EventKind::Neighbour { commands: ended, longest_ns });
    }
}
