//! What a disk takes, found out by asking it, as a host would: every opcode and, for commands with
//! subcommands, every value of those; the directory of logs and their lists of pages; the words of
//! IDENTIFY DEVICE data that say anything, on disks of all kinds.
//!
//! A subcommand counts as taken if any variant of its parameters does not end as aborted.

use anyhow::{Context, Result};
use freewheel_ata::fis::{DeviceFis, Error, RegisterH2D, Status};
use freewheel_ata::{
    CapacityControl, Device, Disk, DiskConfig, Link, LinkError, Rotation, command_name,
};
use freewheel_block::{Engine, EngineConfig, Nanos};
use freewheel_sim::{MemoryDisk, MemoryDiskConfig};

use super::{Item, Items, Kind};

/// Polls after which a command has ended, or hangs.
pub(super) const PATIENCE: usize = 10_000;

/// A command whose meaning is in another register than the command register.
struct Family {
    opcode: u8,
    /// Values of the field that says what.
    values: std::ops::RangeInclusive<u16>,
    /// The variants worth trying for a value.
    variants: fn(u16) -> Vec<RegisterH2D>,
    /// What the host has to send first.
    before: fn() -> Vec<RegisterH2D>,
}

const FAMILIES: &[Family] = &[
    // SET FEATURES: features; the rest is in count and, for EPC (4Ah), LBA.
    Family { opcode: 0xef, values: 0..=0xff, variants: set_features, before: Vec::new },
    // SMART: features, with a signature in the LBA.
    Family {
        opcode: 0xb0,
        values: 0xd0..=0xdb,
        variants: smart,
        before: || vec![lba(command(0xb0, 0xd8, 0), SMART_SIGNATURE)],
    },
    // SANITIZE DEVICE: features, with a signature in the LBA.
    Family { opcode: 0xb4, values: 0..=0xff, variants: sanitize, before: Vec::new },
    // SET MAX ADDRESS and what shares its opcode: features, after READ NATIVE MAX ADDRESS.
    Family {
        opcode: 0xf9,
        values: 0..=4,
        variants: |value| vec![lba(command(0xf9, value, 0), 1000)],
        before: || vec![command(0xf8, 0, 0)],
    },
    // ACCESSIBLE MAX ADDRESS CONFIGURATION: features.
    Family {
        opcode: 0x78,
        values: 0..=2,
        variants: |value| vec![lba(command(0x78, value, 0), 1000)],
        before: Vec::new,
    },
    // WRITE UNCORRECTABLE EXT: features.
    Family {
        opcode: 0x45,
        values: 0..=0xff,
        variants: |value| vec![lba(command(0x45, value, 1), 8)],
        before: Vec::new,
    },
    // NCQ NON-DATA: features 3:0; what to do about it in features 15:4 and the auxiliary register.
    Family { opcode: 0x63, values: 0..=15, variants: ncq_non_data, before: Vec::new },
    // SEND and RECEIVE FPDMA QUEUED: count 12:8.
    Family { opcode: 0x64, values: 0..=31, variants: |it| fpdma(0x64, it), before: Vec::new },
    Family { opcode: 0x65, values: 0..=31, variants: |it| fpdma(0x65, it), before: Vec::new },
];

/// LBA 23:8 of each SMART command.
const SMART_SIGNATURE: u64 = 0xc2_4f00;
/// EPC, of SET FEATURES: LBA 3:0 says what.
const EPC: u16 = 0x4a;

pub(super) fn command(opcode: u8, features: u16, count: u16) -> RegisterH2D {
    RegisterH2D {
        is_command: true,
        command: opcode,
        features,
        count,
        device: 0x40,
        ..RegisterH2D::default()
    }
}

fn lba(command: RegisterH2D, lba: u64) -> RegisterH2D {
    RegisterH2D { lba, ..command }
}

fn set_features(value: u16) -> Vec<RegisterH2D> {
    let counts = |address| (0..=0xff).map(move |count| lba(command(0xef, value, count), address));
    (0..=7).flat_map(counts).collect()
}

/// EPC is disabled on a new disk, and takes nothing but this then.
fn enable_epc() -> Vec<RegisterH2D> {
    vec![lba(command(0xef, EPC, 0), 4)]
}

fn epc(value: u16) -> Vec<RegisterH2D> {
    let modes = [0xff, 0x00, 0x01, 0x02, 0x03, 0x81, 0x82, 0x83];
    let addresses = [0, 0x10, 0x20, 0x30, 0x40, 0x80, 0xf0, 0x100];
    let all = modes.iter().flat_map(|mode| addresses.map(|high| (*mode, high)));
    all.map(|(mode, high)| lba(command(0xef, EPC, mode), high | u64::from(value))).collect()
}

fn smart(value: u16) -> Vec<RegisterH2D> {
    let all = (0..=0xff).flat_map(|low| [(low, 1), (low, 0), (low, 0xf1)]);
    all.map(|(low, count)| lba(command(0xb0, value, count), SMART_SIGNATURE | low)).collect()
}

fn sanitize(value: u16) -> Vec<RegisterH2D> {
    // Freeze, antifreeze, block erase, crypto scramble, overwrite.
    let keys = [0x4672_4c6b, 0x416e_7469, 0x426b_4572, 0x4372_7970, 0x4f57_0000_0000, 0];
    keys.map(|key| lba(command(0xb4, value, 0), key)).to_vec()
}

fn ncq_non_data(value: u16) -> Vec<RegisterH2D> {
    let all = (0..16).flat_map(|kind| [0, 1].map(|sectors| (kind << 4, sectors)));
    all.map(|(kind, sectors)| RegisterH2D { auxiliary: sectors, ..command(0x63, value | kind, 0) })
        .collect()
}

fn fpdma(opcode: u8, value: u16) -> Vec<RegisterH2D> {
    let auxiliaries = [0, 1];
    auxiliaries
        .map(|auxiliary| RegisterH2D { auxiliary, ..command(opcode, 1, value << 8) })
        .to_vec()
}

/// A controller's side: 64 KiB of memory, and how the command ended.
pub(super) struct Host {
    pub(super) memory: Vec<u8>,
    pub(super) ended: Option<(Status, Error)>,
}

impl Host {
    pub(super) fn new() -> Self {
        Self { memory: vec![0; 64 << 10], ended: None }
    }

    /// Whether the command that has ended did so otherwise than aborted.
    pub(super) fn took_it(&self) -> Option<bool> {
        let is_abort = |(status, error): (Status, Error)| {
            status.contains(Status::ERR) && error.contains(Error::ABRT)
        };
        self.ended.map(|end| !is_abort(end))
    }
}

impl Link for Host {
    fn data_in(&mut self, _slot: u8, offset: u64, data: &[u8]) -> Result<(), LinkError> {
        let start = offset as usize;
        let place = self.memory.get_mut(start..start + data.len()).ok_or(LinkError::Overflow)?;
        place.copy_from_slice(data);
        Ok(())
    }

    fn data_out(&mut self, _slot: u8, offset: u64, data: &mut [u8]) -> Result<(), LinkError> {
        let start = offset as usize;
        data.copy_from_slice(
            self.memory.get(start..start + data.len()).ok_or(LinkError::Overflow)?,
        );
        Ok(())
    }

    fn fis(&mut self, slot: Option<u8>, fis: DeviceFis) {
        match fis {
            DeviceFis::RegisterD2H { interrupt: true, registers } if slot.is_some() => {
                self.ended = Some((registers.status, registers.error));
            }
            DeviceFis::SetDeviceBits { status, error, .. } => self.ended = Some((status, error)),
            DeviceFis::PioSetup { ending_status, to_host: true, .. }
                if !ending_status.contains(Status::BSY) =>
            {
                self.ended = Some((ending_status, Error::empty()));
            }
            _ => {}
        }
    }
}

/// A disk, and its host.
struct Bench {
    disk: Disk,
    host: Host,
    now: Nanos,
}

impl Bench {
    fn new(config: DiskConfig, medium: &MemoryDiskConfig) -> Result<Self> {
        let engine = EngineConfig { slots: 2, buf_bytes: 8192, ..EngineConfig::default() };
        let engine = Engine::new(Box::new(MemoryDisk::new(medium)), engine);
        let disk = Disk::new(config, engine).context("a disk to ask")?;
        Ok(Self { disk, host: Host::new(), now: Nanos(1) })
    }

    fn default() -> Result<Self> {
        Self::new(DiskConfig::default(), &medium())
    }

    /// Whether the disk takes a command: it ends otherwise than aborted.
    fn takes(&mut self, command: &RegisterH2D) -> bool {
        self.host.ended = None;
        self.disk.execute(0, command, &[0; 16], self.now, &mut self.host);
        for _ in 0..PATIENCE {
            if let Some(taken) = self.host.took_it() {
                return taken;
            }
            self.disk.poll(self.now, &mut self.host);
            let due = self.disk.next_wakeup().unwrap_or_default();
            self.now = due.max(self.now.plus(1_000_000));
        }
        // SLEEP and its like: it has not said no.
        true
    }

    /// The 512 bytes that a command reads.
    fn read(&mut self, command: &RegisterH2D) -> Option<&[u8; 512]> {
        self.host.memory.fill(0);
        if self.takes(command) { self.host.memory.first_chunk() } else { None }
    }

    fn log(&mut self, log: u8, page: u8) -> Option<[u8; 512]> {
        let address = u64::from(page) << 8 | u64::from(log);
        self.read(&lba(command(0x2f, 0, 1), address)).copied()
    }
}

fn medium() -> MemoryDiskConfig {
    MemoryDiskConfig { size_bytes: 4 << 20, ..MemoryDiskConfig::default() }
}

/// Everything.
pub(super) fn items() -> Result<Items> {
    let mut items = Items::new();
    for opcode in 0..=u8::MAX {
        if let Some(name) = command_name(opcode) {
            let item = Item { kind: Kind::Opcode, name: name.to_owned(), ..item() };
            items.insert(format!("{opcode:02X}h"), item);
        }
    }
    for family in FAMILIES {
        subcommands(family, &mut items)?;
    }
    let epc_family = Family { opcode: 0xef, values: 0..=15, variants: epc, before: enable_epc };
    for value in epc_family.values.clone() {
        if taken(&epc_family, value)? {
            items.insert(format!("EFh/4Ah/{value:X}h"), item());
        }
    }
    logs(&mut items)?;
    words(&mut items)?;
    Ok(items)
}

pub(super) fn item() -> Item {
    Item { kind: Kind::Taken, name: String::new(), section: String::new() }
}

fn subcommands(family: &Family, items: &mut Items) -> Result<()> {
    if command_name(family.opcode).is_none() {
        return Ok(());
    }
    for value in family.values.clone() {
        if taken(family, value)? {
            items.insert(format!("{:02X}h/{value:02X}h", family.opcode), item());
        }
    }
    Ok(())
}

fn taken(family: &Family, value: u16) -> Result<bool> {
    // ACS-4 forbids to offer both ways to hide sectors.
    let capacity_control = match family.opcode {
        0x78 => CapacityControl::AccessibleMaxAddress,
        _ => CapacityControl::HostProtectedArea,
    };
    let mut bench =
        Bench::new(DiskConfig { capacity_control, ..DiskConfig::default() }, &medium())?;
    for variant in (family.variants)(value) {
        for command in (family.before)() {
            bench.takes(&command);
        }
        if bench.takes(&variant) {
            return Ok(true);
        }
        if variant.command & 0xf0 == 0x60 {
            // Ends the error state of the queue.
            bench.log(0x10, 0);
        }
    }
    Ok(false)
}

fn logs(items: &mut Items) -> Result<()> {
    let mut bench = Bench::default()?;
    let directory = bench.log(0, 0).context("the disk has no log directory")?;
    let smart_on = lba(command(0xb0, 0xd8, 0), SMART_SIGNATURE);
    bench.takes(&smart_on);
    let smart_directory = lba(command(0xb0, 0xd5, 1), SMART_SIGNATURE);
    let smart = bench.read(&smart_directory).copied().unwrap_or([0; 512]);
    items.insert("log 00h".to_owned(), item());
    for log in 1..=u8::MAX {
        let at = usize::from(log) * 2;
        if directory[at..at + 2] == [0, 0] && smart[at..at + 2] == [0, 0] {
            continue;
        }
        items.insert(format!("log {log:02X}h"), item());
        // Device statistics and IDENTIFY DEVICE data list their pages on the first.
        if let (0x04 | 0x30, Some(list)) = (log, bench.log(log, 0)) {
            for page in &list[9..9 + usize::from(list[8])] {
                items.insert(format!("log {log:02X}h/{page:02X}h"), item());
            }
        }
    }
    Ok(())
}

/// Words of IDENTIFY DEVICE data that are not zero on some disk.
fn words(items: &mut Items) -> Result<()> {
    let plain = DiskConfig::default;
    let large = DiskConfig { logical_sector_bytes: 4096, ..plain() };
    let disk =
        DiskConfig { rotation: Rotation::Rpm(7200), wwn: Some(0x5000_c500_1234_5678), ..plain() };
    let capacity_control = CapacityControl::AccessibleMaxAddress;
    let hidden = DiskConfig { capacity_control, ..plain() };
    for config in [plain(), large, disk, hidden] {
        let mut bench = Bench::new(config, &medium())?;
        let data =
            *bench.read(&command(0xec, 0, 0)).context("the disk does not identify itself")?;
        for (word, bytes) in data.chunks_exact(2).enumerate() {
            if bytes != [0, 0] {
                items.insert(format!("word {word}"), item());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_asked_for_what_it_takes() {
        let items = items().unwrap();
        assert_eq!(items["25h"].name, "READ DMA EXT");
        for key in ["EFh/82h", "EFh/03h", "log 10h", "log 30h/01h", "word 60"] {
            assert!(items.contains_key(key), "{key}");
        }
        // Reserved in every standard.
        for key in ["04h", "EFh/FFh", "log 7Fh", "word 250"] {
            assert!(!items.contains_key(key), "{key}");
        }
    }
}
