//! SMART state as bytes, to be kept over a power cycle.
//!
//! Little-endian, in the order of [`Smart::save`], after a version byte. Reading back trusts
//! nothing: each list has its limit, and whatever does not fit makes the whole void.
//!
//! Not kept: the command history and the Phy event counters, which start anew with each power
//! cycle; a self-test under way, which is entered as interrupted.

use alloc::vec::Vec;

use super::{CommandRecord, Counters, Defects, ErrorRecord, Errors, SelfTestResult, SelfTests};
use super::{Smart, defects, errors, self_test_log};
use crate::disk::log::{HOST_LOG_BYTES, HostLogs, is_host_log};
use crate::disk::saved::Reader;

const VERSION: u8 = 1;

/// A byte that is 0 or 1.
fn flag(from: &mut Reader<'_>) -> Option<bool> {
    from.u8().filter(|byte| *byte <= 1).map(|byte| byte == 1)
}

/// A count of at most `most`.
fn count(from: &mut Reader<'_>, most: usize) -> Option<usize> {
    from.u16().map(usize::from).filter(|count| *count <= most)
}

impl Smart {
    /// Appends the state to `out`.
    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        out.extend([VERSION, self.enabled.into(), self.autosave.into(), self.offline_done.into()]);
        self.counters.save(out);
        out.extend((self.defects.pending() as u16).to_le_bytes());
        for (lba, found_by_test) in self.defects.iter() {
            out.extend(lba.to_le_bytes());
            out.push(found_by_test.into());
        }
        out.extend(self.errors.total.to_le_bytes());
        out.extend((self.errors.records.len() as u16).to_le_bytes());
        self.errors.records.iter().for_each(|record| record.save(out));
        let mut tests = self.tests.clone();
        if let Some(result) = self.interrupted() {
            tests.push(result);
        }
        out.extend(tests.total.to_le_bytes());
        out.extend((tests.results.len() as u16).to_le_bytes());
        tests.results.iter().for_each(|result| result.save(out));
        for (first, last) in self.selective.spans {
            out.extend(first.to_le_bytes());
            out.extend(last.to_le_bytes());
        }
        out.extend((self.host_logs.logs.len() as u16).to_le_bytes());
        for (log, data) in &self.host_logs.logs {
            out.push(*log);
            out.extend_from_slice(data);
        }
    }

    /// The state that [`Smart::save`] wrote, at the beginning of a power cycle; `None` if `bytes`
    /// are anything else.
    pub(crate) fn load(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes);
        if from.u8()? != VERSION {
            return None;
        }
        let mut smart = Smart {
            enabled: flag(&mut from)?,
            autosave: flag(&mut from)?,
            offline_done: flag(&mut from)?,
            ..Smart::default()
        };
        smart.counters = Counters::load(&mut from)?;
        smart.defects = Defects::default();
        for _ in 0..count(&mut from, defects::MAX_DEFECTS)? {
            smart.defects.add(from.u64()?, flag(&mut from)?);
        }
        smart.errors = Errors::load(&mut from)?;
        smart.tests = SelfTests::load(&mut from)?;
        for span in &mut smart.selective.spans {
            *span = (from.u64()?, from.u64()?);
        }
        smart.host_logs = HostLogs::load(&mut from)?;
        from.is_empty().then_some(smart)
    }
}

impl Counters {
    fn save(&self, out: &mut Vec<u8>) {
        let long =
            [self.sectors_written, self.write_commands, self.sectors_read, self.read_commands];
        long.iter().for_each(|value| out.extend(value.to_le_bytes()));
        let short = [
            self.uncorrectable,
            self.crc_errors,
            self.cancelled,
            self.resets_with_commands,
            self.hardware_resets,
            self.most_pending,
            self.most_found_by_tests,
        ];
        short.iter().for_each(|value| out.extend(value.to_le_bytes()));
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            sectors_written: from.u64()?,
            write_commands: from.u64()?,
            sectors_read: from.u64()?,
            read_commands: from.u64()?,
            uncorrectable: from.u32()?,
            crc_errors: from.u32()?,
            cancelled: from.u32()?,
            resets_with_commands: from.u32()?,
            hardware_resets: from.u32()?,
            most_pending: from.u32()?,
            most_found_by_tests: from.u32()?,
        })
    }
}

impl CommandRecord {
    fn save(&self, out: &mut Vec<u8>) {
        out.extend([self.control, self.device, self.command]);
        out.extend(self.features.to_le_bytes());
        out.extend(self.count.to_le_bytes());
        out.extend(self.lba.to_le_bytes());
        out.extend(self.timestamp_ms.to_le_bytes());
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            control: from.u8()?,
            device: from.u8()?,
            command: from.u8()?,
            features: from.u16()?,
            count: from.u16()?,
            lba: from.u64()?,
            timestamp_ms: from.u32()?,
        })
    }
}

impl ErrorRecord {
    fn save(&self, out: &mut Vec<u8>) {
        self.commands.iter().for_each(|command| command.save(out));
        out.extend([self.error, self.status, self.device, self.state]);
        out.extend(self.count.to_le_bytes());
        out.extend(self.lba.to_le_bytes());
        out.extend(self.life_timestamp.to_le_bytes());
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let mut record = Self::default();
        for command in &mut record.commands {
            *command = CommandRecord::load(from)?;
        }
        record.error = from.u8()?;
        record.status = from.u8()?;
        record.device = from.u8()?;
        record.state = from.u8()?;
        record.count = from.u16()?;
        record.lba = from.u64()?;
        record.life_timestamp = from.u16()?;
        Some(record)
    }
}

impl Errors {
    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let mut errors = Errors { total: from.u64()?, ..Errors::default() };
        for _ in 0..count(from, errors::MAX_ERRORS)? {
            errors.records.push_back(ErrorRecord::load(from)?);
        }
        (errors.total >= errors.records.len() as u64).then_some(errors)
    }
}

impl SelfTestResult {
    fn save(&self, out: &mut Vec<u8>) {
        out.extend([self.subcommand, self.status, self.failing_lba.is_some().into()]);
        out.extend(self.life_timestamp.to_le_bytes());
        out.extend(self.failing_lba.unwrap_or(0).to_le_bytes());
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let (subcommand, status, has_lba) = (from.u8()?, from.u8()?, flag(from)?);
        let life_timestamp = from.u16()?;
        let failing_lba = Some(from.u64()?).filter(|_| has_lba);
        Some(Self { subcommand, status, life_timestamp, failing_lba })
    }
}

impl SelfTests {
    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let mut tests = SelfTests { total: from.u64()?, ..SelfTests::default() };
        for _ in 0..count(from, self_test_log::MAX_RESULTS)? {
            tests.results.push_back(SelfTestResult::load(from)?);
        }
        (tests.total >= tests.results.len() as u64).then_some(tests)
    }
}

impl HostLogs {
    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let mut host_logs = HostLogs::default();
        for _ in 0..count(from, 32)? {
            let log = from.u8().filter(|log| is_host_log(*log))?;
            let data = from.bytes(HOST_LOG_BYTES)?;
            host_logs.logs.insert(log, data.to_vec());
        }
        Some(host_logs)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Vitals;
    use super::*;

    /// A state in which nothing is as it was at first.
    fn full() -> Smart {
        let mut smart = Smart { enabled: false, offline_done: true, ..Smart::default() };
        smart.counters.sectors_read = 7;
        smart.counters.hardware_resets = 9;
        smart.defects.add(1 << 40, true);
        smart.defects.add(3, false);
        let command = CommandRecord { lba: 1 << 47, command: 0x60, ..CommandRecord::default() };
        for error in 0..30 {
            smart.errors.push(ErrorRecord {
                commands: [command; errors::COMMANDS],
                error,
                count: 0x1234,
                ..ErrorRecord::default()
            });
        }
        let failing_lba = Some(1 << 33);
        let result = SelfTestResult { subcommand: 2, status: 0x75, life_timestamp: 9, failing_lba };
        smart.tests.push(result);
        smart.tests.push(SelfTestResult { failing_lba: None, ..result });
        smart.selective.spans[4] = (1, 1 << 47);
        smart.host_logs.logs.insert(0x9f, alloc::vec![7; HOST_LOG_BYTES]);
        smart
    }

    fn saved(smart: &Smart) -> Vec<u8> {
        let mut bytes = Vec::new();
        smart.save(&mut bytes);
        bytes
    }

    #[test]
    fn everything_that_is_saved_comes_back() {
        let smart = full();
        let bytes = saved(&smart);
        let back = Smart::load(&bytes).expect("what was saved");
        assert_eq!(saved(&back), bytes);
        assert!(!back.enabled && back.autosave && back.offline_done);
        assert_eq!(back.counters, smart.counters);
        assert_eq!(back.errors, smart.errors);
        assert_eq!(back.tests, smart.tests);
        assert_eq!(back.defects, smart.defects);
        assert_eq!(back.selective, smart.selective);
        assert_eq!(back.host_logs, smart.host_logs);
    }

    #[test]
    fn what_is_cut_short_too_long_or_of_another_version_is_void() {
        let bytes = saved(&full());
        for len in 0..bytes.len() {
            assert!(Smart::load(&bytes[..len]).is_none(), "{len}");
        }
        let longer: Vec<u8> = bytes.iter().copied().chain([0]).collect();
        assert!(Smart::load(&longer).is_none());
        let mut other = bytes;
        other[0] = 2;
        assert!(Smart::load(&other).is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            at in 0usize..3000,
            with in prop::collection::vec(any::<u8>(), 1..40),
        ) {
            let mut bytes = saved(&full());
            for (byte, new) in bytes.iter_mut().skip(at).zip(&with) {
                *byte = *new;
            }
            if let Some(mut smart) = Smart::load(&bytes) {
                // Whatever was taken can be shown, and goes on.
                let pending = smart.defects.pending();
                smart.data_page(&Vitals { hours: 1, power_cycles: 1, pending }, 1);
                smart.note_comreset();
                prop_assert!(smart.errors.index(20) <= 20 && smart.tests.index(21) <= 21);
            }
            Smart::load(&with);
        }
    }
}
