//! Orderly removal: a disk goes at a moment at which the guest has left it alone.
//!
//! SATA has no way to ask a guest for a disk; the guest's administrator unmounts it. What is made
//! sure here is that no command is torn: the disk goes once nothing was in flight or issued for a
//! while, its last flush follows, and the answer comes when the image is closed.

use freewheel_ahci::PortStatus;
use freewheel_block::Nanos;
use serde_json::Value;

use super::{Bench, Plugs, Refusal, Ticket, Waiter};
use crate::place::Place;

/// How long a guest must have left a disk alone.
const QUIET_NS: u64 = 1_000_000_000;

/// A disk or drive that is to go.
pub(super) struct Leaving {
    pub(super) place: Place,
    pub(super) ticket: Ticket,
    deadline: Nanos,
    quiet_since: Nanos,
    /// What its engine had been asked for by then.
    submitted_total: u64,
}

impl Leaving {
    pub(super) fn next_wakeup(&self) -> Nanos {
        self.deadline.min(self.quiet_since.plus(QUIET_NS))
    }

    /// Notes whether the guest uses it now.
    fn look(&mut self, bench: &Bench<'_>, now: Nanos) -> InFlight {
        let ports = bench.controller.hba.status(now);
        let engine = self.place.engine(&ports);
        let slots = ports.get(self.place.port).map_or(0, |port| in_use_for(self.place, port));
        let operations = engine.map_or(0, |engine| engine.operations.len());
        let submitted_total = engine.map_or(0, |engine| engine.counters.submitted_total);
        if slots != 0 || operations != 0 || submitted_total != self.submitted_total {
            self.quiet_since = now;
            self.submitted_total = submitted_total;
        }
        InFlight { commands: slots.count_ones(), operations }
    }
}

/// The slots of the port that are in use for what is at `place`. Behind a port multiplier a command
/// may wait whose device nobody knows yet: it may be for any of them.
fn in_use_for(place: Place, port: &PortStatus) -> u32 {
    let used = port.command_issue | port.sata_active;
    let Some(pm_port) = place.pm_port.map(usize::from) else {
        return used;
    };
    let others = port.behind.iter().enumerate().filter(|(index, _)| *index != pm_port);
    used & !others.fold(0, |slots, (_, device)| slots | device.slots)
}

struct InFlight {
    commands: u32,
    operations: usize,
}

impl Plugs {
    /// Takes off what is at `place` once the guest has left it alone, by `timeout_ns` from now.
    pub(in crate::serve) fn release(
        &mut self,
        place: Place,
        timeout_ns: u64,
        ticket: Ticket,
        now: Nanos,
    ) -> Result<(), Refusal> {
        self.find(place)?;
        if self.leaving.iter().any(|leaving| leaving.place == place) {
            let cause = format!("port {place} is being detached already");
            return Err(Refusal::new(cause, "wait for it, or pull it out with --force"));
        }
        let deadline = now.plus(timeout_ns);
        self.leaving.push(Leaving {
            place,
            ticket,
            deadline,
            quiet_since: now,
            submitted_total: 0,
        });
        Ok(())
    }

    pub(super) fn step_leaving(&mut self, bench: &mut Bench<'_>) {
        let now = bench.controller.clock.now();
        for mut leaving in std::mem::take(&mut self.leaving) {
            let in_flight = leaving.look(bench, now);
            let place = leaving.place;
            if now.since(leaving.quiet_since) >= QUIET_NS {
                let Ok(index) = self.find(place) else { continue };
                let Leaving { ticket, deadline, .. } = leaving;
                self.take_off(index, Some(Waiter { ticket, deadline }), bench);
            } else if now >= leaving.deadline {
                self.answers.push((leaving.ticket, Err(in_use(place, &in_flight))));
            } else {
                self.leaving.push(leaving);
            }
        }
    }

    /// The places that are to be left.
    pub(in crate::serve) fn leaving(&self) -> Vec<Value> {
        self.leaving.iter().map(|leaving| leaving.place.to_string().into()).collect()
    }
}

fn in_use(place: Place, in_flight: &InFlight) -> Refusal {
    let what = match in_flight {
        InFlight { commands: 0, operations: 0 } => "it was used within the last second".to_owned(),
        InFlight { commands: 0, operations } => {
            format!("{operations} operation(s) of its own are going on")
        }
        InFlight { commands, .. } => format!("{commands} command(s) are in flight"),
    };
    Refusal::new(
        format!("port {place} is still in use: {what}; it stays attached"),
        "unmount it in the guest and try again, or pull it out with --force",
    )
}

#[cfg(test)]
mod tests {
    use freewheel_ahci::{Attachment, Hba, HbaConfig, PortMultiplier};

    use super::*;

    #[test]
    fn a_command_that_may_be_for_a_device_keeps_it() {
        let multiplier = Attachment::from(PortMultiplier::new(vec![None, None]));
        let config = HbaConfig::default();
        let hba = Hba::with_attachments(config, vec![Some(multiplier)], Nanos(0));
        let mut port = hba.status(Nanos(0)).remove(0);
        // Slots 0 and 1 are device 0's; of slot 2 nobody knows.
        (port.command_issue, port.sata_active, port.behind[0].slots) = (0b101, 0b010, 0b011);
        let at = |pm_port| Place { pm_port, ..Place::on_port(0) };
        assert_eq!(in_use_for(at(Some(0)), &port), 0b111);
        assert_eq!(in_use_for(at(Some(1)), &port), 0b100);
        assert_eq!(in_use_for(at(None), &port), 0b111);
    }
}
