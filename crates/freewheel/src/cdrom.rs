//! CD drives as the command line spells them, and how they and their images are opened.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use freewheel_ata::{Drive, DriveConfig, InsertError};
use freewheel_backends::file::{self, Cache, EngineChoice, FileOptions};
use freewheel_block::fault::{FaultLayer, FaultSpec, LinkFault};
use freewheel_block::{Engine, EngineConfig};

use crate::disk;
use crate::exit::{self, UserError};

const KEYS: &str = "path, port, serial, vendor, product, firmware, wwn, cache, engine, fault";
/// Bytes of a logical block, by which faults count.
pub(crate) const BLOCK_BYTES: u64 = 2048;

/// How the images of a drive are opened.
#[derive(Clone, Debug)]
pub(crate) struct ImageOptions {
    pub(crate) cache: Cache,
    pub(crate) engine: EngineChoice,
    pub(crate) faults: Vec<FaultSpec>,
}

/// A drive as it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct CdromSpec {
    /// The image that is in it at the start.
    pub(crate) path: Option<PathBuf>,
    pub(crate) port: Option<usize>,
    pub(crate) images: ImageOptions,
    pub(crate) link_faults: Vec<LinkFault>,
    pub(crate) config: DriveConfig,
    has_serial: bool,
}

impl CdromSpec {
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let config = &mut self.config;
        match key {
            "path" => self.path = Some(disk::path(value)?),
            "port" => self.port = Some(disk::number(key, value, 0, 31)? as usize),
            "serial" => {
                config.serial = disk::text(key, value, 20)?;
                self.has_serial = true;
            }
            "vendor" => config.vendor = disk::text(key, value, 8)?,
            "product" => config.product = disk::text(key, value, 16)?,
            "firmware" => config.firmware = disk::text(key, value, 8)?,
            "wwn" => config.wwn = Some(disk::number(key, value, 0, u64::MAX)?),
            "cache" => self.images.cache = disk::cache(value)?,
            "engine" => self.images.engine = disk::engine(value)?,
            "fault" => match value.parse::<FaultSpec>().map_err(|error| error.to_string())? {
                FaultSpec::Link(fault) => self.link_faults.push(fault),
                fault @ FaultSpec::Op { .. } => self.images.faults.push(fault),
            },
            other => return Err(format!("the key `{other}` is unknown; there are {KEYS}")),
        }
        Ok(())
    }

    /// An empty drive for `port`.
    pub(crate) fn drive(&self, port: usize) -> Drive {
        let mut config = self.config.clone();
        if !self.has_serial {
            config.serial = format!("FWCD{port:06}");
        }
        Drive::new(config)
    }
}

impl FromStr for CdromSpec {
    type Err = String;

    fn from_str(spec: &str) -> Result<Self, String> {
        let mut drive = CdromSpec {
            path: None,
            port: None,
            images: ImageOptions {
                cache: Cache::Writeback,
                engine: EngineChoice::Auto,
                faults: Vec::new(),
            },
            link_faults: Vec::new(),
            config: DriveConfig::default(),
            has_serial: false,
        };
        let mut seen: Vec<String> = Vec::new();
        for pair in disk::split(spec).iter().filter(|pair| !pair.is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(format!("`{pair}` is not KEY=VALUE"));
            };
            if key != "fault" && seen.iter().any(|other| other == key) {
                return Err(format!("the key `{key}` is given twice"));
            }
            seen.push(key.to_owned());
            drive.set(key, value)?;
        }
        Ok(drive)
    }
}

/// An image that is open, ready for a drive.
pub(crate) struct OpenImage {
    pub(crate) engine: Engine,
    /// Readable when the engine has something to be polled for.
    pub(crate) wake: OwnedFd,
}

/// Opens an image. May block: not for the device thread.
pub(crate) fn open_image(path: &Path, options: &ImageOptions) -> Result<OpenImage, UserError> {
    let engine_config = EngineConfig::default();
    let file_options = FileOptions {
        read_only: true,
        cache: options.cache,
        engine: options.engine,
        discard: false,
        sector_bytes: 512,
        queue_depth: engine_config.slots,
    };
    let opened = file::open(path, &file_options).map_err(|error| disk::refused(&error))?;
    let faults = options.faults.clone();
    let layer = FaultLayer::new(opened.backend, BLOCK_BYTES, faults, 1).map_err(|error| {
        let cause = format!("{}: {error}", path.display());
        UserError::new(exit::USAGE, cause, "see `freewheel serve --help`")
    })?;
    Ok(OpenImage { engine: Engine::new(Box::new(layer), engine_config), wake: opened.wake })
}

/// Puts an image into an empty drive.
pub(crate) fn insert(drive: &mut Drive, engine: Engine, path: &Path) -> Result<(), UserError> {
    drive.insert(engine).map_err(|(why, _)| {
        let remedy = match why {
            InsertError::Occupied => "eject it with `freewheel ctl eject`",
            InsertError::Empty(_) | InsertError::TooLarge(_) => "choose another image",
        };
        UserError::new(exit::DISK, format!("{}: {why}", path.display()), remedy)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drive_may_be_empty_and_every_key_is_read() {
        let empty: CdromSpec = "".parse().expect("an empty drive");
        assert_eq!((empty.path, empty.port), (None, None));
        let spec: CdromSpec = "path=a,,b.iso,port=2,serial=S,vendor=V,product=P,firmware=1,\
            wwn=0x5000c50015ea71aa,cache=none,engine=threads,fault=read:hang,fault=link:crc"
            .parse()
            .expect("a good spec");
        assert_eq!(spec.path, Some("a,b.iso".into()));
        assert_eq!((spec.port, spec.images.faults.len(), spec.link_faults.len()), (Some(2), 1, 1));
    }

    #[test]
    fn mistakes_are_named() {
        for (spec, word) in [
            ("path", "KEY=VALUE"),
            ("path=a,path=b", "twice"),
            ("readonly=on", "`readonly` is unknown"),
            ("vendor=123456789", "at most 8"),
            ("port=32", "0 to 31"),
        ] {
            let message = spec.parse::<CdromSpec>().expect_err(spec);
            assert!(message.contains(word), "{spec}: {message}");
        }
    }
}
