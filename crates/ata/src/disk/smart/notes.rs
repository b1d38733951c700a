//! What the disk notes down as commands come and end.

use freewheel_block::Nanos;

use super::counters::{count, life_timestamp};
use super::{CommandRecord, ErrorRecord, Smart, Vitals};
use crate::disk::command::{Call, Fault, Protocol};
use crate::disk::settings::PowerMode;
use crate::disk::transfer::Extent;
use crate::disk::{Disk, Pending, READY, Work};
use crate::fis::{Error, RegisterH2D, Registers, Status};

/// STANDBY IMMEDIATE and SLEEP, in both their opcodes, which end a self-test (ACS-4, SMART EXECUTE
/// OFF-LINE IMMEDIATE).
const ENDS_SELF_TEST: [u8; 4] = [0xe0, 0xe6, 0x94, 0x99];

impl Smart {
    /// A command came, so many milliseconds after power-on.
    pub(crate) fn note_command(&mut self, fis: &RegisterH2D, timestamp_ms: u32) {
        self.history.push(CommandRecord::new(fis, timestamp_ms));
    }

    /// A reset, or a host that gave up, has cancelled so many commands.
    pub(crate) fn note_cancelled(&mut self, commands: usize) {
        count(&mut self.counters.cancelled, commands);
        count(&mut self.counters.resets_with_commands, usize::from(commands > 0));
    }

    /// COMRESET, which the signature will answer.
    pub(crate) fn note_comreset(&mut self) {
        count(&mut self.counters.hardware_resets, 1);
        self.phy.note_comreset();
    }
}

impl Disk {
    /// What SMART tells at `now`.
    pub(crate) fn vitals(&self, now: Nanos) -> Vitals {
        let marked = u32::try_from(self.uncorrectable.sector_count()).unwrap_or(u32::MAX);
        Vitals {
            hours: self.power_on.hours(now),
            power_cycles: self.power_on.cycles(),
            pending: self.smart.defects.pending().saturating_add(marked),
        }
    }

    /// The sectors that cannot be read.
    pub(crate) fn pending_lbas(&self) -> impl Iterator<Item = u64> {
        self.uncorrectable.sectors().chain(self.smart.defects.iter().map(|(lba, _)| lba))
    }

    /// A sector could not be read. One that was marked as uncorrectable is counted already.
    pub(crate) fn note_unreadable(&mut self, lba: u64, found_by_test: bool) {
        if self.uncorrectable.first_marked(lba, lba.saturating_add(1)).is_none() {
            self.smart.defects.add(lba, found_by_test);
        }
        let pending = self.vitals(Nanos::default()).pending;
        let counters = &mut self.smart.counters;
        counters.most_pending = counters.most_pending.max(pending);
        counters.most_found_by_tests =
            counters.most_found_by_tests.max(self.smart.defects.found_by_tests());
    }

    /// A command has ended well that read or wrote the medium.
    pub(in crate::disk) fn note_success(&mut self, pending: &Pending) {
        let counters = &mut self.smart.counters;
        let sectors = pending.len_bytes / u64::from(self.shape.sector_bytes);
        match pending.work {
            Work::Read { .. } => {
                counters.sectors_read = counters.sectors_read.saturating_add(sectors);
                counters.read_commands += 1;
            }
            Work::Write { .. } => {
                counters.sectors_written = counters.sectors_written.saturating_add(sectors);
                counters.write_commands += 1;
            }
            Work::Verify | Work::Zero => {}
            Work::Erase => return self.smart.defects.heal(0, u64::MAX),
            _ => return,
        }
        let is_queued = pending.call.row.protocol == Protocol::Queued;
        let lba = if is_queued {
            Some(pending.call.fis.lba)
        } else {
            Extent::of(&pending.call, self.settings.geometry).ok().map(|extent| extent.lba)
        };
        if let Some(lba) = lba {
            self.smart.defects.heal(lba, sectors);
        }
    }

    /// A command ends with `fault`, as `registers` show it. The error logs take what went wrong in
    /// the disk or on the link, not what the host asked in error (ACS-4, SMART error logging).
    pub(crate) fn note_failure(&mut self, call: &Call, fault: &Fault, registers: &Registers) {
        if fault.error.contains(Error::UNC) {
            count(&mut self.smart.counters.uncorrectable, 1);
            if let Some(lba) = fault.lba {
                self.note_unreadable(lba, false);
            }
        }
        if fault.error.contains(Error::ICRC) {
            count(&mut self.smart.counters.crc_errors, 1);
            self.smart.phy.note_crc_error();
        }
        // A sector that the host has flagged as uncorrectable is none to log (ACS-4, WRITE
        // UNCORRECTABLE EXT).
        let is_flagged = fault.lba.is_some_and(|lba| self.uncorrectable.is_flagged(lba));
        let is_fault_of_disk = fault.error.intersects(Error::UNC | Error::ICRC)
            || fault.status.contains(Status::DF)
            // A write that failed is aborted, and says where.
            || fault.error == Error::ABRT && fault.lba.is_some();
        if is_fault_of_disk && !is_flagged {
            self.record_error(call, registers);
        }
    }

    /// A flush has failed: the one error of the storage that looks like a refused command.
    pub(crate) fn note_failed_flush(&mut self, call: &Call, fault: &Fault) {
        if *fault == Fault::ABORT {
            let registers = self.registers(call, READY | fault.status, fault.error, None);
            self.record_error(call, &registers);
        }
    }

    fn record_error(&mut self, call: &Call, registers: &Registers) {
        let smart = &mut self.smart;
        let timestamp_ms = self.power_on.cycle_ms(call.now);
        // A command that is too long ago for the history stands alone.
        let alone = || {
            let mut commands = <[CommandRecord; super::errors::COMMANDS]>::default();
            commands[4] = CommandRecord::new(&call.fis, timestamp_ms);
            commands
        };
        let commands = smart.history.leading_to(&call.fis).unwrap_or_else(alone);
        let power = self.power.mode(self.settings.standby_after_ns, call.now);
        let state = match power {
            PowerMode::Sleep => 0x1,
            PowerMode::Standby => 0x2,
            _ if smart.is_testing() => 0x4,
            _ => 0x3,
        };
        let life_timestamp = life_timestamp(self.power_on.hours(call.now));
        let mut record = ErrorRecord { commands, state, life_timestamp, ..ErrorRecord::default() };
        record.set_registers(registers);
        smart.errors.push(record);
        self.saved.note_change();
    }

    /// Before a command is executed: some end a self-test.
    pub(crate) fn before_command(&mut self, call: &Call) {
        if ENDS_SELF_TEST.contains(&call.fis.command) {
            self.abort_self_test(call.now);
        }
    }
}
