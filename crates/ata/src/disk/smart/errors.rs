//! Commands that failed, each with the commands before it: what the SMART error logs are made of
//! (`../log/smart_error.rs` lays them out).

use alloc::collections::VecDeque;

use crate::fis::{RegisterH2D, Registers};

/// Errors that are remembered: four pages of log 02h, five of log 03h.
pub(crate) const MAX_ERRORS: usize = 20;
/// The command that failed and the four before it.
pub(crate) const COMMANDS: usize = 5;
/// Commands of the recent past: a full queue and then some.
const HISTORY: usize = 40;

/// A command as it came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CommandRecord {
    pub(crate) control: u8,
    pub(crate) features: u16,
    pub(crate) count: u16,
    pub(crate) lba: u64,
    pub(crate) device: u8,
    pub(crate) command: u8,
    /// Milliseconds since power-on.
    pub(crate) timestamp_ms: u32,
}

impl CommandRecord {
    /// `fis`, which came at `timestamp_ms`.
    pub(crate) fn new(fis: &RegisterH2D, timestamp_ms: u32) -> Self {
        Self {
            control: fis.control,
            features: fis.features,
            count: fis.count,
            lba: fis.lba,
            device: fis.device,
            command: fis.command,
            timestamp_ms,
        }
    }
}

/// The latest commands. Not kept over a power cycle.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    commands: VecDeque<CommandRecord>,
}

impl History {
    /// A command came.
    pub(crate) fn push(&mut self, command: CommandRecord) {
        if self.commands.len() == HISTORY {
            self.commands.pop_front();
        }
        self.commands.push_back(command);
    }

    /// `fis` as it came, with the commands before it, oldest first; all zero where there were none.
    /// `None` if it came too long ago.
    pub(crate) fn leading_to(&self, fis: &RegisterH2D) -> Option<[CommandRecord; COMMANDS]> {
        let is_it = |it: &CommandRecord| *it == CommandRecord::new(fis, it.timestamp_ms);
        let end = self.commands.iter().rposition(is_it)? + 1;
        let mut commands = [CommandRecord::default(); COMMANDS];
        let latest = self.commands.range(..end).rev();
        for (entry, command) in commands.iter_mut().rev().zip(latest) {
            *entry = *command;
        }
        Some(commands)
    }
}

/// A command that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ErrorRecord {
    /// The commands up to it; the last one is the one that failed.
    pub(crate) commands: [CommandRecord; COMMANDS],
    /// What it ended with.
    pub(crate) error: u8,
    pub(crate) status: u8,
    pub(crate) count: u16,
    pub(crate) lba: u64,
    pub(crate) device: u8,
    /// What the disk was doing (ACS-4, state field values).
    pub(crate) state: u8,
    /// Power-on hours.
    pub(crate) life_timestamp: u16,
}

impl ErrorRecord {
    /// The registers that it ended with.
    pub(crate) fn set_registers(&mut self, registers: &Registers) {
        self.error = registers.error.bits();
        self.status = registers.status.bits();
        self.count = registers.count;
        self.lba = registers.lba;
        self.device = registers.device;
    }
}

/// The latest errors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Errors {
    /// How many there have been.
    pub(crate) total: u64,
    /// The latest of them, oldest first.
    pub(crate) records: VecDeque<ErrorRecord>,
}

impl Errors {
    /// One more.
    pub(crate) fn push(&mut self, record: ErrorRecord) {
        if self.records.len() == MAX_ERRORS {
            self.records.pop_front();
        }
        self.records.push_back(record);
        self.total = self.total.saturating_add(1);
    }

    /// The latest errors, at most `ring` of them, each with the place (from 0) that it has in a
    /// circular buffer of that size.
    pub(crate) fn in_ring(&self, ring: usize) -> impl Iterator<Item = (usize, &ErrorRecord)> {
        let latest = self.records.iter().rev().take(ring);
        latest.enumerate().map(move |(age, record)| (self.place(age, ring), record))
    }

    /// The index (from 1) of the latest one in such a buffer; 0 if there is none.
    pub(crate) fn index(&self, ring: usize) -> u16 {
        if self.records.is_empty() { 0 } else { self.place(0, ring) as u16 + 1 }
    }

    fn place(&self, age: usize, ring: usize) -> usize {
        let number = self.total.saturating_sub(1 + age as u64);
        (number % ring as u64) as usize
    }

    /// Device error count. Once it can count no further it stays where it fits the index, which
    /// hosts check it against.
    pub(crate) fn device_error_count(&self) -> u16 {
        const CEILING: u64 = 65_500;
        match self.total {
            0..=CEILING => self.total as u16,
            total => (CEILING + total % MAX_ERRORS as u64) as u16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_is_found_with_the_four_before_it() {
        let mut history = History::default();
        let fis = |lba| RegisterH2D { command: 0x60, lba, ..RegisterH2D::default() };
        for lba in 0..3 {
            history.push(CommandRecord::new(&fis(lba), lba as u32));
        }
        let lbas = |at| history.leading_to(&fis(at)).map(|it| it.map(|command| command.lba));
        assert_eq!(lbas(1), Some([0, 0, 0, 0, 1]));
        assert_eq!(lbas(9), None);
        for lba in 3..60 {
            history.push(CommandRecord::new(&fis(lba), lba as u32));
        }
        let lbas = |at| history.leading_to(&fis(at)).map(|it| it.map(|command| command.lba));
        assert_eq!(lbas(50), Some([46, 47, 48, 49, 50]));
        assert_eq!(lbas(3), None);
    }

    #[test]
    fn index_and_count_go_together_for_ever() {
        let mut errors = Errors::default();
        assert_eq!((errors.index(5), errors.device_error_count()), (0, 0));
        for number in 1..70_000u64 {
            errors.push(ErrorRecord { lba: number, ..ErrorRecord::default() });
            let (index, count) = (errors.index(5), errors.device_error_count());
            assert!((1..=5).contains(&index));
            assert_eq!((count - index) % 5, 0, "what smartctl checks");
            let latest = errors.in_ring(5).find(|(place, _)| place + 1 == usize::from(index));
            assert_eq!(latest.map(|(_, record)| record.lba), Some(number));
        }
        assert_eq!(errors.records.len(), MAX_ERRORS);
    }
}
