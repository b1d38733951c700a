//! A guest's AHCI driver: command list, doorbell, completions. Initialisation and resets are in
//! [`reset`], recovery from errors in [`recovery`].
//!
//! It behaves as Linux's libahci does, except where a test asks for worse: any field of a
//! [`Command`] can be bent, and nothing stops a caller from using a tag at once after a reset.

mod command;
mod identity;
mod layout;
mod multiplier;
mod recovery;
mod reset;

use freewheel_ahci::registers::*;

pub use command::{Command, Direction, PrdtEntry};
pub use identity::{Identity, NcqError};
pub use layout::Layout;
pub use reset::{ResetOutcome, ResetWay, enable_hba, reset_hba};

use crate::{Access, Machine};

/// Where the packet is in a command table (4.2.3).
const ACMD_OFFSET_BYTES: usize = 0x40;

/// Why a command did not end well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DriverError {
    /// It did not end in time.
    #[error("slots {slots:#010x} did not end in time")]
    Timeout {
        /// The slots that are still in flight.
        slots: u32,
    },
    /// The port reports an error.
    #[error("PxIS {is:#010x}, PxTFD {task_file:#06x}, PxSERR {serr:#010x}")]
    Port {
        /// PxIS.
        is: u32,
        /// PxTFD.
        task_file: u32,
        /// PxSERR.
        serr: u32,
        /// The slots that were in flight and have not ended.
        slots: u32,
    },
}

/// What one look at a port has shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Completions {
    /// PxIS, which the look has cleared.
    pub is: u32,
    /// The slots that have ended since the last look.
    pub ended: u32,
}

/// The bits of PxIS that stop a port or spoil a command.
const ERRORS: PxIs =
    PxIs::TFES.union(PxIs::HBFS).union(PxIs::HBDS).union(PxIs::IFS).union(PxIs::OFS);

/// The driver of one port.
#[derive(Clone, Debug)]
pub struct Driver {
    port: usize,
    layout: Layout,
    bank: usize,
    in_flight: u32,
}

impl Driver {
    /// A driver for `port`, with the memory that [`Layout::of_port`] gives it.
    pub fn new(port: usize) -> Self {
        Self { port, layout: Layout::of_port(port), bank: 0, in_flight: 0 }
    }

    /// The port.
    pub fn port(&self) -> usize {
        self.port
    }

    /// Its memory.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Uses the other of two banks of data buffers for commands from now on.
    pub fn use_bank(&mut self, bank: usize) {
        self.bank = bank % 2;
    }

    /// Slots that were issued and have not been seen to end.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Forgets what is in flight, as after a reset.
    pub fn forget(&mut self, machine: &Machine) {
        self.end_slots(self.in_flight, machine);
    }

    /// Reads a register of the port.
    pub fn read(&self, machine: &mut Machine, register: u32) -> u32 {
        machine.read_port(self.port, register)
    }

    /// Writes a register of the port.
    pub fn write(&self, machine: &mut Machine, register: u32, value: u32) {
        machine.write_port(self.port, register, value);
    }

    /// Puts data into the buffer of `slot`.
    pub fn fill(&self, machine: &Machine, slot: u8, data: &[u8]) {
        machine.ram.poke(self.layout.data(self.bank, slot), data);
    }

    /// Takes data out of the buffer of `slot`.
    pub fn data(&self, machine: &Machine, slot: u8, len_bytes: usize) -> Vec<u8> {
        machine.ram.peek(self.layout.data(self.bank, slot), len_bytes)
    }

    fn key(&self, slot: u8) -> u64 {
        (self.port as u64) << 8 | u64::from(slot)
    }

    /// Writes header, FIS and PRDT of `command` for `slot`, and lets the device have the memory
    /// that goes with them.
    pub fn prepare(&mut self, machine: &Machine, slot: u8, command: &Command) {
        let table = command.table.unwrap_or(self.layout.table(slot));
        let own = [PrdtEntry {
            address: self.layout.data(self.bank, slot),
            len_bytes: command.data_bytes as u32,
        }];
        let prdt: &[PrdtEntry] = match &command.prdt {
            Some(prdt) => prdt,
            None if command.data_bytes == 0 => &[],
            None => &own,
        };
        let mut fis = command.fis;
        if command.queued {
            fis.count = u16::from(slot) << 3;
        }
        let mut bytes = vec![0; PRDT_OFFSET_BYTES];
        bytes[..20].copy_from_slice(&fis.encode());
        bytes[0] = command.fis_type;
        if let Some(packet) = command.packet {
            bytes[ACMD_OFFSET_BYTES..ACMD_OFFSET_BYTES + packet.len()].copy_from_slice(&packet);
        }
        for entry in prdt {
            bytes.extend_from_slice(&entry.address.to_le_bytes());
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(&(entry.len_bytes.wrapping_sub(1) & 0x3f_ffff).to_le_bytes());
        }
        machine.ram.poke(table, &bytes);

        let flags = u32::from(command.fis_dwords & 0x1f)
            | u32::from(command.packet.is_some()) << 5
            | u32::from(command.direction == Direction::ToDevice) << 6
            | u32::from(command.reset) << 8
            | u32::from(command.clear_busy) << 10
            | u32::from(command.pm_port & 0xf) << 12
            | (prdt.len() as u32) << 16;
        let mut header = [0; 32];
        header[..4].copy_from_slice(&flags.to_le_bytes());
        header[8..16].copy_from_slice(&table.to_le_bytes());
        machine.ram.poke(self.layout.header(slot), &header);

        let key = self.key(slot);
        machine.ram.revoke(key);
        machine.ram.allow(key, table..table + bytes.len() as u64, Access::Read);
        let access = match command.direction {
            Direction::ToDevice => Access::Read,
            _ => Access::Write,
        };
        let mut run = 0..0;
        for entry in prdt {
            let range = entry.address..entry.address + u64::from(entry.len_bytes);
            if range.start == run.end {
                run.end = range.end;
                continue;
            }
            machine.ram.allow(key, std::mem::replace(&mut run, range), access);
        }
        machine.ram.allow(key, run, access);
    }

    /// Rings the doorbell for `slots`, of which `queued` are queued commands.
    pub fn ring(&mut self, machine: &mut Machine, slots: u32, queued: u32) {
        self.in_flight |= slots;
        if queued != 0 {
            self.write(machine, PX_SACT, queued);
        }
        self.write(machine, PX_CI, slots);
    }

    /// Prepares and issues commands, with one doorbell for all.
    pub fn issue_all(&mut self, machine: &mut Machine, commands: &[(u8, Command)]) {
        let (mut slots, mut queued) = (0, 0);
        for (slot, command) in commands {
            self.prepare(machine, *slot, command);
            slots |= 1 << slot;
            queued |= u32::from(command.queued) << slot;
        }
        self.ring(machine, slots, queued);
    }

    /// Prepares and issues one command.
    pub fn issue(&mut self, machine: &mut Machine, slot: u8, command: &Command) {
        self.prepare(machine, slot, command);
        self.ring(machine, 1 << slot, u32::from(command.queued) << slot);
    }

    /// What an interrupt handler does: clears PxIS and IS, and sees which slots have ended.
    pub fn collect(&mut self, machine: &mut Machine) -> Completions {
        let is = self.read(machine, PX_IS);
        self.write(machine, PX_IS, is);
        machine.write(IS, 1 << self.port);
        let busy = self.read(machine, PX_CI) | self.read(machine, PX_SACT);
        let ended = self.in_flight & !busy;
        self.end_slots(ended, machine);
        Completions { is, ended }
    }

    fn end_slots(&mut self, slots: u32, machine: &Machine) {
        self.in_flight &= !slots;
        for slot in (0..32).filter(|slot| slots & 1 << slot != 0) {
            machine.ram.revoke(self.key(slot));
        }
    }

    /// Waits until all of `slots` have ended.
    pub fn wait_for(
        &mut self,
        machine: &mut Machine,
        slots: u32,
        at_most_ns: u64,
    ) -> Result<(), DriverError> {
        let mut errors = 0;
        let in_time = machine.run_until(at_most_ns, |machine| {
            errors |= self.collect(machine).is & ERRORS.bits();
            errors != 0 || self.in_flight & slots == 0
        });
        if errors != 0 {
            return Err(self.port_error(machine, errors));
        }
        if in_time {
            return Ok(());
        }
        Err(DriverError::Timeout { slots: self.in_flight & slots })
    }

    fn port_error(&self, machine: &mut Machine, is: u32) -> DriverError {
        DriverError::Port {
            is,
            task_file: self.read(machine, PX_TFD),
            serr: self.read(machine, PX_SERR),
            slots: self.in_flight,
        }
    }

    /// Issues one command and waits for its end.
    pub fn run(
        &mut self,
        machine: &mut Machine,
        slot: u8,
        command: &Command,
        at_most_ns: u64,
    ) -> Result<(), DriverError> {
        self.issue(machine, slot, command);
        self.wait_for(machine, 1 << slot, at_most_ns)
    }

    /// IDENTIFY DEVICE.
    pub fn identify(
        &mut self,
        machine: &mut Machine,
        at_most_ns: u64,
    ) -> Result<Identity, DriverError> {
        self.run(machine, 0, &Command::identify(), at_most_ns)?;
        Ok(Identity::parse(&self.data(machine, 0, 512)))
    }
}
