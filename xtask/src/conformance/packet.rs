//! What an ATAPI drive takes and shows, found out by asking it, as a host would: every ATA command and
//! setting, every packet command, and the lists of what the commands for it report.

use anyhow::{Result, anyhow};
use freewheel_ata::fis::RegisterH2D;
use freewheel_ata::{Device, Drive, DriveConfig, packet_command_name};
use freewheel_block::{Engine, EngineConfig, Nanos};
use freewheel_sim::{MemoryDisk, MemoryDiskConfig};

use super::probe::{Host, PATIENCE, command, item};
use super::{Item, Items, Kind};

/// Sizes of images that pass for a CD and a DVD.
const CD_BYTES: u64 = 1 << 20;
const DVD_BYTES: u64 = 800 << 20;

const PACKET: u8 = 0xa0;
const SET_FEATURES: u8 = 0xef;
const IDENTIFY_PACKET_DEVICE: u8 = 0xa1;

/// A drive with a medium that its host knows of.
struct Bench {
    drive: Drive,
    host: Host,
    now: Nanos,
}

impl Bench {
    fn new(config: DriveConfig, size_bytes: u64) -> Result<Self> {
        let image =
            MemoryDisk::new(&MemoryDiskConfig { size_bytes, ..MemoryDiskConfig::default() });
        let engine = EngineConfig { slots: 2, buf_bytes: 8192, ..EngineConfig::default() };
        let mut drive = Drive::new(config);
        let inserted = drive.insert(Engine::new(Box::new(image), engine));
        inserted.map_err(|(why, _)| anyhow!("a drive to ask: {why}"))?;
        let mut bench = Self { drive, host: Host::new(), now: Nanos(1) };
        // The reset and the medium are reported by a command each.
        for _ in 0..2 {
            bench.runs(&[0]);
        }
        Ok(bench)
    }

    fn with_cd() -> Result<Self> {
        Self::new(DriveConfig::default(), CD_BYTES)
    }

    /// Whether the drive takes an ATA command.
    fn takes(&mut self, command: &RegisterH2D, packet: &[u8; 16]) -> bool {
        self.host.ended = None;
        self.host.memory.fill(0);
        self.drive.execute(0, command, packet, self.now, &mut self.host);
        for _ in 0..PATIENCE {
            if let Some(taken) = self.host.took_it() {
                return taken;
            }
            self.now = self.now.plus(1_000_000);
            self.drive.poll(self.now, &mut self.host);
        }
        false
    }

    /// Whether a packet command ends well.
    fn runs(&mut self, bytes: &[u8]) -> bool {
        let mut packet = [0; 16];
        packet[..bytes.len()].copy_from_slice(bytes);
        // CHECK CONDITION has its sense key where other commands have ABRT: any error counts.
        self.takes(&command(PACKET, 1, 0), &packet);
        self.host.ended.is_some_and(|(_, error)| error.is_empty())
    }

    /// What it puts into memory; nothing if it does not end well.
    fn answer(&mut self, bytes: &[u8]) -> &[u8] {
        if self.runs(bytes) { &self.host.memory } else { &[] }
    }
}

/// Everything.
pub(super) fn items() -> Result<Items> {
    let mut items = Items::new();
    for opcode in 0..=u8::MAX {
        if let Some(name) = packet_command_name(opcode) {
            let item = Item { kind: Kind::Opcode, name: name.to_owned(), ..item() };
            items.insert(format!("packet {opcode:02X}h"), item);
        }
        if Bench::with_cd()?.takes(&command(opcode, 0, 0), &[0; 16]) {
            items.insert(format!("packet device {opcode:02X}h"), item());
        }
    }
    let mut bench = Bench::with_cd()?;
    for feature in 0..=0xff {
        let takes = |count| bench.takes(&command(SET_FEATURES, feature, count), &[0; 16]);
        if (0..=0xff).any(takes) {
            items.insert(format!("packet device EFh/{feature:02X}h"), item());
            // All others of its kind.
            items.entry("packet device EFh".to_owned()).or_insert_with(item);
        }
    }
    lists(&mut items)?;
    words(&mut items)?;
    Ok(items)
}

/// What single commands tell apart.
fn lists(items: &mut Items) -> Result<()> {
    let mut cd = Bench::with_cd()?;
    let mut dvd = Bench::new(DriveConfig::default(), DVD_BYTES)?;
    let mut add = |key: String| items.insert(key, item());
    for value in 0..=u8::MAX {
        let is_page = value < 0x3f;
        if is_page && cd.runs(&[0x5a, 0, value, 0, 0, 0, 0, 1, 0]) {
            add(format!("mode page {value:02X}h"));
        }
        if value < 16 && cd.runs(&[0x43, 0, value, 0, 0, 0, 0, 1, 0, 0]) {
            add(format!("TOC format {value:02X}h"));
        }
        if cd.runs(&[0x42, 0, 0x40, value, 0, 0, 0, 1, 0, 0]) {
            add(format!("sub-channel {value:02X}h"));
        }
        if cd.runs(&[0x12, 1, value, 1, 0]) {
            add(format!("VPD page {value:02X}h"));
        }
        if dvd.runs(&[0xad, 0, 0, 0, 0, 0, 0, value, 16, 0]) {
            add(format!("disc structure {value:02X}h"));
        }
    }
    // GET EVENT STATUS NOTIFICATION says which classes there are.
    let classes = cd.answer(&[0x4a, 1, 0, 0, 0x7e, 0, 0, 0, 8]).get(3).copied().unwrap_or(0);
    for class in (0..8).filter(|class| classes & 1 << class != 0) {
        add(format!("event class {class}"));
    }
    // GET CONFIGURATION: a header, then features of their own length each.
    let answer = cd.answer(&[0x46, 0, 0, 0, 0, 0, 0, 16, 0]);
    let len_bytes = answer.first_chunk().map_or(0, |it| u32::from_be_bytes(*it) as usize + 4);
    let mut rest = answer.get(8..len_bytes).unwrap_or(&[]);
    while let [high, low, _, len_bytes, tail @ ..] = rest {
        let (data, next) = tail.split_at_checked((*len_bytes).into()).unwrap_or((tail, &[]));
        let code = u16::from_be_bytes([*high, *low]);
        add(format!("feature {code:04X}h"));
        if code == 0 {
            for profile in data.chunks_exact(4) {
                add(format!("profile {:02X}{:02X}h", profile[0], profile[1]));
            }
        }
        rest = next;
    }
    Ok(())
}

/// Words of IDENTIFY PACKET DEVICE data that are not zero on some drive.
fn words(items: &mut Items) -> Result<()> {
    let named = DriveConfig { wwn: Some(0x5000_c500_1234_5678), ..DriveConfig::default() };
    for config in [DriveConfig::default(), named] {
        let mut bench = Bench::new(config, CD_BYTES)?;
        bench.takes(&command(IDENTIFY_PACKET_DEVICE, 0, 0), &[0; 16]);
        for (word, bytes) in bench.host.memory.chunks_exact(2).take(256).enumerate() {
            if bytes != [0, 0] {
                items.insert(format!("packet word {word}"), item());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drive_is_asked_for_what_it_takes() {
        let items = items().unwrap();
        assert_eq!(items["packet 28h"].name, "READ (10)");
        for key in [
            "packet device 08h",
            "packet device EFh/10h",
            "mode page 2Ah",
            "feature 0000h",
            "profile 0008h",
            "TOC format 02h",
            "event class 4",
            "VPD page 83h",
            "disc structure 00h",
            "packet word 0",
        ] {
            assert!(items.contains_key(key), "{key}");
        }
        for key in ["packet FFh", "packet device ECh", "mode page 3Eh", "TOC format 0Fh"] {
            assert!(!items.contains_key(key), "{key}");
        }
    }
}
