//! What a port multiplier has, found out by asking it through its port: every command to its control
//! port, its registers (GSCR) and those of a device port (PSCR).

use anyhow::{Context, Result};
use freewheel_ahci::pmp::{CONTROL_PORT, PortMultiplier};
use freewheel_ahci::{Attachment, Hba, HbaConfig};
use freewheel_block::Nanos;
use freewheel_sim::{Command, Driver, GuestRam, Layout, Machine, VirtualClock, reset_hba};

use super::Items;
use super::probe::item;

/// Time in which the control port answers.
const PATIENCE_NS: u64 = 1_000_000;

struct Bench {
    machine: Machine,
    driver: Driver,
}

impl Bench {
    fn new() -> Result<Self> {
        let multiplier = Attachment::from(PortMultiplier::new(vec![None]));
        let hba = Hba::with_attachments(HbaConfig::default(), vec![Some(multiplier)], Nanos(0));
        let ram = GuestRam::new(Layout::memory_bytes(1));
        let mut machine = Machine::new(hba, ram, Box::new(VirtualClock::default()));
        reset_hba(&mut machine);
        let mut driver = Driver::new(0);
        driver.bring_up(&mut machine);
        driver.attach_multiplier(&mut machine).context("a port multiplier to ask")?;
        Ok(Self { machine, driver })
    }

    fn reads(&mut self, port: u8, register: u16) -> bool {
        let is_read = self.driver.read_multiplier(&mut self.machine, port, register).is_ok();
        if !is_read {
            // The port has halted.
            self.driver.bring_up(&mut self.machine);
        }
        is_read
    }

    fn takes(&mut self, opcode: u8) -> bool {
        let command = Command::without_data(opcode).to_port(CONTROL_PORT);
        self.driver.issue_to(&mut self.machine, 0, &command);
        let is_taken = self.driver.wait_for(&mut self.machine, 1, PATIENCE_NS).is_ok();
        if !is_taken {
            self.driver.bring_up(&mut self.machine);
        }
        is_taken
    }
}

/// Everything.
pub(super) fn items() -> Result<Items> {
    let mut bench = Bench::new()?;
    let mut items = Items::new();
    for number in 0..=u8::MAX {
        if bench.takes(number) {
            items.insert(format!("PM {number:02X}h"), item());
        }
        if bench.reads(CONTROL_PORT, number.into()) {
            items.insert(format!("GSCR[{number}]"), item());
        }
        if bench.reads(0, number.into()) {
            items.insert(format!("PSCR[{number}]"), item());
        }
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_multiplier_is_asked_for_its_registers() {
        let keys: Vec<_> = items().unwrap().into_keys().collect();
        for key in ["PM E4h", "GSCR[0]", "GSCR[96]", "PSCR[2]"] {
            assert!(keys.iter().any(|it| it == key), "{key}");
        }
        assert!(keys.len() < 20, "{keys:?}");
    }
}
