//! Disks as the command line spells them, and how they are opened: image, fault layer, engine,
//! ATA disk.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::str::FromStr;

use freewheel_ata::{Disk, DiskConfig, Rotation};
use freewheel_backends::file::{self, Cache, EngineChoice, FileOptions};
use freewheel_block::fault::{FaultLayer, FaultSpec, LinkFault, UnsupportedFault};
use freewheel_block::{Engine, EngineConfig};

use crate::exit::{self, UserError};
use crate::place::Place;

/// Keys that belong to the design and are not built yet; said so, instead of "unknown".
const LATER: [&str; 3] = ["iops", "bps", "on-error"];
const KEYS: &str = "path, format, port, readonly, cache, discard, logical, physical, serial, \
    model, firmware, wwn, rotation, queue, engine, state, fault";

/// Where a disk keeps what outlives the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StateKey {
    /// Nowhere.
    Off,
    /// Beside the image.
    Beside,
    /// In this file.
    At(PathBuf),
}

/// A disk as it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct DiskSpec {
    pub(crate) path: PathBuf,
    pub(crate) port: Option<Place>,
    pub(crate) read_only: bool,
    pub(crate) cache: Cache,
    pub(crate) engine: EngineChoice,
    pub(crate) faults: Vec<FaultSpec>,
    pub(crate) state: StateKey,
    pub(crate) config: DiskConfig,
    pub(crate) has_serial: bool,
}

impl DiskSpec {
    /// A raw image with everything at its default.
    pub(crate) fn raw(path: PathBuf) -> Self {
        Self {
            path,
            port: None,
            read_only: false,
            cache: Cache::Writeback,
            engine: EngineChoice::Auto,
            faults: Vec::new(),
            state: StateKey::Off,
            config: DiskConfig::default(),
            has_serial: false,
        }
    }

    /// Whether there are faults of its link.
    pub(crate) fn has_link_faults(&self) -> bool {
        self.faults.iter().any(|fault| matches!(fault, FaultSpec::Link(_)))
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let config = &mut self.config;
        match key {
            "path" => self.path = path(value)?,
            "format" => match value {
                "raw" => {}
                "qcow2" => return Err("format=qcow2 is not available yet; use raw".into()),
                other => return Err(format!("format `{other}` is unknown; use raw")),
            },
            "port" => self.port = Some(value.parse()?),
            "readonly" => self.read_only = switch(key, value)?,
            "cache" => self.cache = cache(value)?,
            "discard" => config.discard = switch(key, value)?,
            "logical" => config.logical_sector_bytes = number(key, value, 512, 4096)? as u32,
            "physical" => config.physical_sector_bytes = number(key, value, 512, 32768)? as u32,
            "serial" => {
                config.serial = text(key, value, 20)?;
                self.has_serial = true;
            }
            "model" => config.model = text(key, value, 40)?,
            "firmware" => config.firmware = text(key, value, 8)?,
            "wwn" => config.wwn = Some(number(key, value, 0, u64::MAX)?),
            "rotation" => config.rotation = rotation(value)?,
            "queue" => config.queue_depth = number(key, value, 1, 32)? as u8,
            "engine" => self.engine = engine(value)?,
            "state" => {
                self.state = match value {
                    "off" => StateKey::Off,
                    "on" => StateKey::Beside,
                    "" => return Err("state is empty; use on, off or the path of a file".into()),
                    path => StateKey::At(PathBuf::from(path)),
                }
            }
            "fault" => {
                let fault = value.parse::<FaultSpec>();
                self.faults.push(fault.map_err(|error| error.to_string())?);
            }
            later if LATER.contains(&later) => {
                return Err(format!("the key `{later}` is not available yet"));
            }
            other => return Err(format!("the key `{other}` is unknown; there are {KEYS}")),
        }
        Ok(())
    }
}

impl FromStr for DiskSpec {
    type Err = String;

    fn from_str(spec: &str) -> Result<Self, String> {
        let mut disk = DiskSpec::raw(PathBuf::new());
        let mut seen: Vec<String> = Vec::new();
        for pair in split(spec) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(format!("`{pair}` is not KEY=VALUE"));
            };
            if key != "fault" && seen.iter().any(|other| other == key) {
                return Err(format!("the key `{key}` is given twice"));
            }
            seen.push(key.to_owned());
            disk.set(key, value)?;
        }
        if disk.path.as_os_str().is_empty() {
            return Err("the key `path` is missing; for example path=disk.img".into());
        }
        let config = &mut disk.config;
        if !seen.iter().any(|key| key == "physical") {
            config.physical_sector_bytes = 4096;
        }
        Ok(disk)
    }
}

/// Splits at commas; a doubled comma stands for one.
pub(crate) fn split(spec: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = spec.chars().peekable();
    while let Some(char) = chars.next() {
        if char != ',' {
            parts.last_mut().expect("never empty").push(char);
        } else if chars.next_if_eq(&',').is_some() {
            parts.last_mut().expect("never empty").push(',');
        } else {
            parts.push(String::new());
        }
    }
    parts
}

pub(crate) fn path(value: &str) -> Result<PathBuf, String> {
    for scheme in ["nbd:", "nbds:", "nbd+unix:", "nbds+unix:", "rbd:"] {
        if value.starts_with(scheme) {
            return Err(format!("storage at `{scheme}…` is not available yet; use a raw file"));
        }
    }
    Ok(PathBuf::from(value))
}

fn switch(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        other => Err(format!("{key} is `{other}`; use on or off")),
    }
}

pub(crate) fn number(key: &str, value: &str, least: u64, most: u64) -> Result<u64, String> {
    let parsed = match value.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => value.parse(),
    };
    match parsed {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("{key} is `{value}`; use a number from {least} to {most}")),
    }
}

pub(crate) fn text(key: &str, value: &str, most: usize) -> Result<String, String> {
    let printable = value.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if printable && value.len() <= most {
        Ok(value.to_owned())
    } else {
        Err(format!("{key} is `{value}`; use at most {most} printable ASCII characters"))
    }
}

pub(crate) fn cache(value: &str) -> Result<Cache, String> {
    match value {
        "writeback" => Ok(Cache::Writeback),
        "none" => Ok(Cache::None),
        "writethrough" => Ok(Cache::Writethrough),
        other => Err(format!("cache is `{other}`; use writeback, none or writethrough")),
    }
}

/// The name of an engine.
pub(crate) fn engine(value: &str) -> Result<EngineChoice, String> {
    match value {
        "auto" => Ok(EngineChoice::Auto),
        "io_uring" => Ok(EngineChoice::IoUring),
        "threads" => Ok(EngineChoice::Threads),
        other => Err(format!("engine is `{other}`; use auto, io_uring or threads")),
    }
}

fn rotation(value: &str) -> Result<Rotation, String> {
    if value == "ssd" {
        return Ok(Rotation::Ssd);
    }
    number("rotation", value, 1025, 65_534)
        .map(|rpm| Rotation::Rpm(rpm as u16))
        .map_err(|_| format!("rotation is `{value}`; use ssd or a number from 1025 to 65534"))
}

/// A disk that is open, ready for a port.
pub(crate) struct OpenDisk {
    /// The ATA disk over its engine, with a fault layer in between.
    pub(crate) device: Disk,
    /// Readable when the engine has something to be polled for.
    pub(crate) wake: OwnedFd,
    /// Faults of its link, for the port that it is put on.
    pub(crate) link_faults: Vec<LinkFault>,
}

/// Opens a disk. May block: belongs before the device thread's work.
pub(crate) fn open(spec: &DiskSpec) -> Result<OpenDisk, UserError> {
    open_under(spec, Ok)
}

/// Opens a disk with a second fault layer above the one that has the faults of `spec`: clearing and
/// releasing is for the upper one, and what is below stays.
pub(crate) fn open_with_lasting_faults(spec: &DiskSpec) -> Result<OpenDisk, UserError> {
    let sector_bytes = u64::from(spec.config.logical_sector_bytes);
    open_under(spec, |layer| FaultLayer::new(Box::new(layer), sector_bytes, [], 1))
}

fn open_under(
    spec: &DiskSpec,
    above: impl FnOnce(FaultLayer) -> Result<FaultLayer, UnsupportedFault>,
) -> Result<OpenDisk, UserError> {
    let name = spec.path.display();
    let mut config = spec.config.clone();
    if !spec.has_serial {
        config.serial = format!("FW{:08X}", name_hash(&spec.path));
    }
    config.write_cache = spec.cache != Cache::Writethrough;
    let engine_config = EngineConfig::default();
    let options = FileOptions {
        read_only: spec.read_only,
        cache: spec.cache,
        engine: spec.engine,
        discard: config.discard,
        sector_bytes: config.logical_sector_bytes,
        queue_depth: engine_config.slots,
    };
    let opened = file::open(&spec.path, &options).map_err(|error| refused(&error))?;
    let sector_bytes = u64::from(config.logical_sector_bytes);
    let (mut faults, mut link_faults) = (Vec::new(), Vec::new());
    for fault in &spec.faults {
        match fault {
            FaultSpec::Link(fault) => link_faults.push(*fault),
            fault @ FaultSpec::Op { .. } => faults.push(fault.clone()),
        }
    }
    // Always there, so that faults can be injected while it runs.
    let layer = FaultLayer::new(opened.backend, sector_bytes, faults, 1).and_then(above);
    let layer = layer.map_err(|error| {
        UserError::new(exit::USAGE, format!("{name}: {error}"), "see `freewheel serve --help`")
    })?;
    let device =
        Disk::new(config, Engine::new(Box::new(layer), engine_config)).map_err(|error| {
            UserError::new(
                exit::DISK,
                format!("{name}: {error}"),
                "choose other disk keys or another image",
            )
        })?;
    Ok(OpenDisk { device, wake: opened.wake, link_faults })
}

/// Why an image cannot be opened, for people.
pub(crate) fn refused(error: &file::OpenError) -> UserError {
    let locked = matches!(error, file::OpenError::Locked { .. });
    UserError { locked, ..UserError::new(exit::DISK, error.cause(), error.remedy()) }
}

/// FNV-1a, folded: a serial number that stays the same for the same path.
fn name_hash(path: &std::path::Path) -> u32 {
    let hash =
        path.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        });
    (hash ^ hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read() {
        let spec: DiskSpec = "path=a,,b.img,format=raw,port=3,readonly=on,cache=none,discard=off,\
            logical=4096,physical=4096,serial=S1,model=M,firmware=F,wwn=0x5000c50015ea71aa,\
            rotation=7200,queue=4,engine=threads,state=s,,1,fault=read:hang,fault=write#2:error=EIO"
            .parse()
            .expect("a good spec");
        assert_eq!(spec.path, PathBuf::from("a,b.img"));
        assert_eq!(spec.port, Some(Place::on_port(3)));
        assert!(spec.read_only);
        assert_eq!(spec.cache, Cache::None);
        assert_eq!(spec.config.rotation, Rotation::Rpm(7200));
        assert_eq!(spec.config.queue_depth, 4);
        assert_eq!(spec.faults.len(), 2);
        assert_eq!(spec.state, StateKey::At("s,1".into()));
    }

    #[test]
    fn mistakes_are_named() {
        for (spec, word) in [
            ("", "KEY=VALUE"),
            ("path=a,colour=red", "`colour` is unknown"),
            ("path=a,path=b", "twice"),
            ("port=1", "`path` is missing"),
            ("path=a,queue=33", "1 to 32"),
            ("path=a,readonly=yes", "on or off"),
            ("path=a,fault=trim:hang", "column 1"),
            ("path=a,state=", "on, off or the path"),
            ("path=a,port=1.15", "N.M"),
            ("path=a,iops=100", "not available yet"),
            ("path=nbd://host", "not available yet"),
            ("path=a,serial=123456789012345678901", "at most 20"),
        ] {
            let message = spec.parse::<DiskSpec>().expect_err(spec);
            assert!(message.contains(word), "{spec}: {message}");
        }
    }
}
