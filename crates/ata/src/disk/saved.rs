//! What outlives the process: the disk's non-volatile state as bytes, and back.
//!
//! A drive keeps some things in its reserved area: how long it has been on, settings that outlive
//! power, what it has logged. Here they are one value of bytes, which whoever owns the disk keeps
//! where it likes (`freewheel serve` writes it to a file beside the image) and hands to
//! [`Disk::restore`] before the disk is used.
//!
//! # Adding a section
//! A family of commands has a value with `save(&self, &mut Vec<u8>)`, which appends its bytes (64 KiB
//! at most; SMART with the host's logs 512 KiB), and `load(&[u8]) -> Option<Self>`, `None` if they make no sense; it is a field of
//! [`Disk`]. Then:
//!
//! 1. one line in [`SECTIONS`], with the next free number, which is never used for anything else:
//!    `section!(16, "uncorrectable sectors", uncorrectable: Uncorrectable)`. What has to do more than set a field spells its
//!    [`Section`] out, as [`POWER_ON`] does;
//! 2. `disk.saved.note_change()` where something changes that must not be lost.
//!
//! What changes all the time and is only a statistic needs no note: it goes out with whatever else
//! is written, every [`INTERVAL_NS`] at the latest, and at an orderly end.
//!
//! # Format
//! All integers are little-endian.
//!
//! | bytes | content |
//! |---|---|
//! | 8 | `FWSTATE` and a zero |
//! | 4 | version of this format: 1 |
//! | 4 | length of the sections, in bytes |
//! | … | sections: number (2 bytes), length (4 bytes), content |
//! | 4 | CRC-32 of all that comes before |
//!
//! Sections of numbers that this version does not know are kept and written back, so that going back
//! to an older program costs nothing. Left out: compatibility with a later version of the format
//! itself, which is refused.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use freewheel_block::Nanos;

use super::epc::Epc;
use super::power::PowerUp;
use super::protected_area::ProtectedArea;
use super::sanitize::Sanitize;
use super::security::Security;
use super::smart::Smart;
use super::uncorrectable::Uncorrectable;
use super::{Disk, DiskConfig};

/// The longest state that is read, in bytes.
pub const SAVED_STATE_MAX_BYTES: usize = 1 << 20;

const MAGIC: [u8; 8] = *b"FWSTATE\0";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 16;
const CRC_BYTES: usize = 4;
/// More sections than any version has: without a bound, empty ones would fill a state by the ten
/// thousands, each to be compared with all others.
const SECTIONS_MAX: usize = 256;

/// How long a change that nobody noted (power-on time, statistics) may go unsaved.
const INTERVAL_NS: u64 = 10 * 60 * 1_000_000_000;

/// One part of the state.
struct Section {
    id: u16,
    name: &'static str,
    save: fn(&Disk, Nanos, &mut Vec<u8>),
    /// Whether the bytes make sense; changes nothing.
    check: fn(&[u8]) -> bool,
    load: fn(&mut Disk, &[u8]),
}

/// A section that is a field of the disk: its number, its name for people, the field, its type.
macro_rules! section {
    ($id:literal, $name:literal, $field:ident: $type:ty) => {
        Section {
            id: $id,
            name: $name,
            save: |disk, _now, out| disk.$field.save(out),
            check: |bytes| <$type>::load(bytes).is_some(),
            load: |disk, bytes| {
                if let Some(value) = <$type>::load(bytes) {
                    disk.$field = value;
                }
            },
        }
    };
}

/// Which disk it is. Not a field, and not restored: compared.
const IDENTITY: u16 = 1;

/// Every section but the disk's identity.
static SECTIONS: &[Section] = &[
    section!(3, "SMART", smart: Smart),
    section!(16, "uncorrectable sectors", uncorrectable: Uncorrectable),
    section!(17, "security", security: Security),
    PROTECTED_AREA,
    section!(19, "the sanitize operation", sanitize: Sanitize),
    POWER_ON,
    section!(8, "extended power conditions", epc: Epc),
    section!(9, "power-up in standby", power_up: PowerUp),
];

/// It needs to know the time, so it is spelled out.
const POWER_ON: Section = Section {
    id: 2,
    name: "power-on time",
    save: |disk, now, out| disk.power_on.save(now, out),
    check: |bytes| PowerOn::load(bytes).is_some(),
    load: |disk, bytes| {
        if let Some(value) = PowerOn::load(bytes) {
            disk.power_on = value;
        }
    },
};

/// The accessible sectors follow from it.
const PROTECTED_AREA: Section = Section {
    id: 18,
    name: "the protected area",
    save: |disk, _now, out| disk.protected_area.save(out),
    check: |bytes| ProtectedArea::load(bytes).is_some(),
    load: |disk, bytes| {
        if let Some(value) = ProtectedArea::load(bytes) {
            disk.protected_area = value;
            disk.restore_accessible_sectors();
        }
    },
};

/// Why bytes are not the state of this disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SavedStateError {
    /// It is something else.
    #[error("it does not begin as a saved disk state does")]
    NotAState,
    /// It was written by a later program.
    #[error("its format has version {0}; this program knows version {VERSION}")]
    Version(u32),
    /// More than [`SAVED_STATE_MAX_BYTES`].
    #[error("it has {0} bytes, more than any disk state ({SAVED_STATE_MAX_BYTES})")]
    TooLong(usize),
    /// It was cut off, or something was appended.
    #[error("it has {found_bytes} bytes where its beginning says {expected_bytes}")]
    Length {
        /// What is there.
        found_bytes: usize,
        /// What the head promises.
        expected_bytes: usize,
    },
    /// A bit has changed.
    #[error("its checksum is wrong: the content is damaged")]
    Checksum,
    /// The checksum is right, but sections run into each other.
    #[error("its sections make no sense at byte {at_byte}")]
    Sections {
        /// Where.
        at_byte: usize,
    },
    /// A section of a known number has content that makes no sense.
    #[error("its section on {0} makes no sense")]
    Section(&'static str),
    /// It does not say whose state it is.
    #[error("it does not say which disk it belongs to")]
    NoIdentity,
    /// It is another disk's, by serial number.
    #[error("it belongs to the disk with serial number `{found}`, not `{expected}`")]
    OtherSerial {
        /// In the state.
        found: String,
        /// This disk's.
        expected: String,
    },
    /// It is another disk's, by size.
    #[error(
        "it belongs to a disk of {found} bytes in sectors of {found_sector}, not {expected} bytes in sectors of {expected_sector}"
    )]
    OtherSize {
        /// In the state.
        found: u64,
        /// In the state.
        found_sector: u32,
        /// This disk's.
        expected: u64,
        /// This disk's.
        expected_sector: u32,
    },
}

/// What the disk remembers of saving.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    /// Since the last save, something changed that must not be lost.
    changed: bool,
    last_save: Nanos,
    /// Sections that this version does not know, as they were found.
    unknown: Vec<(u16, Vec<u8>)>,
}

impl Saved {
    /// For a disk that has just been switched on, which is news already.
    pub(crate) fn new() -> Self {
        Self { changed: true, ..Self::default() }
    }

    /// Something changed that must not be lost: the state is saved soon.
    pub(crate) fn note_change(&mut self) {
        self.changed = true;
    }
}

impl Disk {
    /// Takes up the state that [`saved_state`](crate::Device::saved_state) gave in a former life.
    /// To be called before the disk is used; if it fails, the disk is as it was.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), SavedStateError> {
        let sections = decode(bytes)?;
        let found = |id| sections.iter().find(|(other, _)| *other == id).map(|(_, bytes)| *bytes);
        Identity::load(found(IDENTITY).ok_or(SavedStateError::NoIdentity)?)
            .ok_or(SavedStateError::Section("identity"))?
            .compare(&self.identity())?;
        for section in SECTIONS {
            if found(section.id).is_some_and(|bytes| !(section.check)(bytes)) {
                return Err(SavedStateError::Section(section.name));
            }
        }
        for section in SECTIONS {
            if let Some(bytes) = found(section.id) {
                (section.load)(self, bytes);
            }
        }
        let is_unknown =
            |id: u16| id != IDENTITY && SECTIONS.iter().all(|section| section.id != id);
        let unknown = sections.iter().filter(|(id, _)| is_unknown(*id));
        self.saved.unknown = unknown.map(|(id, bytes)| (*id, bytes.to_vec())).collect();
        Ok(())
    }

    fn identity(&self) -> Identity {
        let DiskConfig { serial, logical_sector_bytes, .. } = &self.config;
        Identity {
            size_bytes: self.engine.info().size_bytes,
            sector_bytes: *logical_sector_bytes,
            serial: serial.clone(),
        }
    }

    /// The state as bytes.
    pub(crate) fn encode_state(&self, now: Nanos) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        put_section(&mut out, IDENTITY, |out| self.identity().save(out));
        for section in SECTIONS {
            put_section(&mut out, section.id, |out| (section.save)(self, now, out));
        }
        for (id, bytes) in &self.saved.unknown {
            // Another program's must not make ours unreadable.
            if out.len() + 6 + bytes.len() + CRC_BYTES <= SAVED_STATE_MAX_BYTES {
                put_section(&mut out, *id, |out| out.extend_from_slice(bytes));
            }
        }
        debug_assert!(out.len() + CRC_BYTES <= SAVED_STATE_MAX_BYTES, "a section has no bound");
        let body_bytes = (out.len() - HEAD_BYTES) as u32;
        out[12..HEAD_BYTES].copy_from_slice(&body_bytes.to_le_bytes());
        let crc = crc32(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// The same, if it is time.
    pub(crate) fn take_changed_state(&mut self, now: Nanos) -> Option<Vec<u8>> {
        let is_due = self.saved.changed || now.since(self.saved.last_save) >= INTERVAL_NS;
        if !is_due {
            return None;
        }
        self.saved.changed = false;
        self.saved.last_save = now;
        Some(self.encode_state(now))
    }
}

fn put_section(out: &mut Vec<u8>, id: u16, content: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&id.to_le_bytes());
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    content(out);
    let length = (out.len() - length_at - 4) as u32;
    out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
}

fn decode(bytes: &[u8]) -> Result<Vec<(u16, &[u8])>, SavedStateError> {
    if bytes.len() > SAVED_STATE_MAX_BYTES {
        return Err(SavedStateError::TooLong(bytes.len()));
    }
    let mut reader = Reader::new(bytes);
    if reader.take() != Some(MAGIC) {
        return Err(SavedStateError::NotAState);
    }
    // Cut off within its head, which says how much there should be.
    let cut = SavedStateError::Length {
        found_bytes: bytes.len(),
        expected_bytes: HEAD_BYTES + CRC_BYTES,
    };
    let version = reader.u32().ok_or(cut.clone())?;
    if version != VERSION {
        return Err(SavedStateError::Version(version));
    }
    let body_bytes = reader.u32().ok_or(cut)? as usize;
    let expected_bytes = HEAD_BYTES.saturating_add(body_bytes).saturating_add(CRC_BYTES);
    if bytes.len() != expected_bytes {
        return Err(SavedStateError::Length { found_bytes: bytes.len(), expected_bytes });
    }
    let (content, crc) = bytes.split_at(bytes.len() - CRC_BYTES);
    if crc != crc32(content).to_le_bytes() {
        return Err(SavedStateError::Checksum);
    }
    let mut reader = Reader::new(&content[HEAD_BYTES..]);
    let mut sections: Vec<(u16, &[u8])> = Vec::new();
    while !reader.is_empty() {
        let at_byte = content.len() - reader.rest().len();
        let mut section = || {
            let id = reader.u16()?;
            let length = reader.u32()?;
            Some((id, reader.bytes(length as usize)?))
        };
        let section = section().ok_or(SavedStateError::Sections { at_byte })?;
        if sections.len() == SECTIONS_MAX || sections.iter().any(|(id, _)| *id == section.0) {
            return Err(SavedStateError::Sections { at_byte });
        }
        sections.push(section);
    }
    Ok(sections)
}

/// Takes integers from the front of bytes; `None` where they end too early.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// From the start of `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `count` bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    /// The next byte.
    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_le_bytes)
    }

    /// The next two bytes, as all that follow little-endian.
    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    /// The next four bytes.
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    /// The next eight bytes.
    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// What is left.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Whether that is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Which disk a state belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    size_bytes: u64,
    sector_bytes: u32,
    serial: String,
}

impl Identity {
    fn save(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.size_bytes.to_le_bytes());
        out.extend_from_slice(&self.sector_bytes.to_le_bytes());
        out.extend_from_slice(self.serial.as_bytes());
    }

    fn load(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let (size_bytes, sector_bytes) = (reader.u64()?, reader.u32()?);
        let serial = core::str::from_utf8(reader.rest()).ok()?.to_string();
        Some(Self { size_bytes, sector_bytes, serial })
    }

    fn compare(self, disk: &Identity) -> Result<(), SavedStateError> {
        if self.serial != disk.serial {
            let expected = disk.serial.clone();
            return Err(SavedStateError::OtherSerial { found: self.serial, expected });
        }
        if (self.size_bytes, self.sector_bytes) != (disk.size_bytes, disk.sector_bytes) {
            return Err(SavedStateError::OtherSize {
                found: self.size_bytes,
                found_sector: self.sector_bytes,
                expected: disk.size_bytes,
                expected_sector: disk.sector_bytes,
            });
        }
        Ok(())
    }
}

/// How long the disk has been on, in all its lives, and how often it was switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PowerOn {
    /// In former lives, in nanoseconds.
    before_ns: u64,
    /// When this life began: at the first reset.
    since: Option<Nanos>,
    cycles: u32,
}

impl PowerOn {
    /// A new disk, switched on for the first time.
    pub(crate) fn first() -> Self {
        Self { before_ns: 0, since: None, cycles: 1 }
    }

    /// The link came up, for the first time or again.
    pub(crate) fn begin(&mut self, now: Nanos) {
        self.since.get_or_insert(now);
    }

    /// All the time that it has been on, in nanoseconds.
    pub(crate) fn total_ns(self, now: Nanos) -> u64 {
        self.before_ns.saturating_add(self.since.map_or(0, |since| now.since(since)))
    }

    /// Hours that it has been on.
    pub(crate) fn hours(self, now: Nanos) -> u64 {
        const HOUR_NS: u64 = 3_600_000_000_000;
        self.total_ns(now) / HOUR_NS
    }

    /// Milliseconds since it was switched on; they wrap, as the timestamps of error logs do.
    pub(crate) fn cycle_ms(self, now: Nanos) -> u32 {
        (self.since.map_or(0, |since| now.since(since)) / 1_000_000) as u32
    }

    /// How often it was switched on.
    pub(crate) fn cycles(self) -> u32 {
        self.cycles
    }

    pub(crate) fn save(self, now: Nanos, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.total_ns(now).to_le_bytes());
        out.extend_from_slice(&self.cycles.to_le_bytes());
    }

    /// Loading it is what switching on again means.
    pub(crate) fn load(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let (before_ns, cycles) = (reader.u64()?, reader.u32()?);
        reader.is_empty().then_some(Self {
            before_ns,
            since: None,
            cycles: cycles.saturating_add(1),
        })
    }
}

/// CRC-32 as in IEEE 802.3.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| crc >> 8 ^ CRC_TABLE[usize::from(crc as u8 ^ byte)])
}

/// What each byte does to the checksum.
static CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 != 0 { 0xedb8_8320 } else { 0 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_ieee_802_3() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn each_section_has_a_number_of_its_own() {
        for (index, section) in SECTIONS.iter().enumerate() {
            assert_ne!(section.id, IDENTITY);
            assert!(SECTIONS[..index].iter().all(|other| other.id != section.id));
        }
    }

    #[test]
    fn power_on_time_adds_up_over_lives() {
        let mut first = PowerOn::first();
        first.begin(Nanos(100));
        first.begin(Nanos(200));
        assert_eq!((first.total_ns(Nanos(300)), first.cycles()), (200, 1));
        let mut bytes = Vec::new();
        first.save(Nanos(300), &mut bytes);
        let mut second = PowerOn::load(&bytes).expect("loaded");
        assert_eq!(second.total_ns(Nanos(5)), 200, "it is not on yet");
        second.begin(Nanos(5));
        assert_eq!((second.total_ns(Nanos(7)), second.cycles()), (202, 2));
        bytes.push(0);
        assert_eq!(PowerOn::load(&bytes), None);
    }
}
