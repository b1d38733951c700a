//! A drive with an image in RAM, and a controller that notes down what it sees.

use std::sync::{Arc, Mutex};

use freewheel_ata::fis::{DeviceFis, RegisterH2D, Registers, Status};
use freewheel_ata::{Device, Drive, DriveConfig, Link, LinkError};
use freewheel_block::{
    Backend, BackendInfo, Done, Engine, EngineConfig, Io, IoError, Nanos, OpKind,
};

pub(crate) const BLOCK: usize = 2048;

/// What the test steers while the engine owns the image.
#[derive(Default)]
pub(crate) struct Storage {
    /// Requests stay where they are.
    pub(crate) hangs: bool,
    /// Reads that touch this block fail.
    pub(crate) bad_block: Option<u64>,
    /// Reads report more than was asked for.
    pub(crate) lies: bool,
    waiting: Vec<Io>,
}

struct Image {
    info: BackendInfo,
    storage: Arc<Mutex<Storage>>,
}

/// What byte `at` of the image numbered `seed` is.
pub(crate) fn byte_of(seed: u8, at: u64) -> u8 {
    (at / 2048).wrapping_mul(31) as u8 ^ at as u8 ^ seed
}

impl Image {
    fn read(&self, mut io: Io, bad_block: Option<u64>) -> Done {
        assert_eq!(io.kind, OpKind::Read, "a drive only reads");
        let (first, len) = (io.range.offset_bytes, io.range.len_bytes);
        if bad_block.is_some_and(|bad| first < (bad + 1) * 2048 && bad * 2048 < first + len) {
            return io.done(Err(IoError::Os(5)));
        }
        let seed = self.info.engine_name.as_bytes()[0];
        for (byte, at) in io.data_mut().iter_mut().zip(first..) {
            *byte = byte_of(seed, at);
        }
        io.done(Ok(len))
    }
}

impl Backend for Image {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    fn submit(&mut self, io: Io, _now: Nanos) {
        self.storage.lock().unwrap().waiting.push(io);
    }

    fn poll(&mut self, _now: Nanos, done: &mut Vec<Done>) {
        let mut storage = self.storage.lock().unwrap();
        if storage.hangs {
            return;
        }
        let (bad_block, lies) = (storage.bad_block, storage.lies);
        for io in std::mem::take(&mut storage.waiting) {
            let len_bytes = io.range.len_bytes;
            done.push(if lies { io.done(Ok(len_bytes + 1)) } else { self.read(io, bad_block) });
        }
    }

    fn next_wakeup(&self) -> Option<Nanos> {
        let storage = self.storage.lock().unwrap();
        (!storage.hangs && !storage.waiting.is_empty()).then_some(Nanos(0))
    }
}

/// An engine over an image of `size_bytes`, whose content `name` decides.
pub(crate) fn image(name: &'static str, size_bytes: u64, storage: &Arc<Mutex<Storage>>) -> Engine {
    let info = BackendInfo {
        engine_name: name.into(),
        size_bytes,
        io_align_bytes: 1,
        read_only: true,
        fua: false,
        discard: None,
        write_zeroes: false,
        queue_depth: 64,
    };
    let backend = Image { info, storage: Arc::clone(storage) };
    let config = EngineConfig { slots: 4, buf_bytes: 16 << 10, ..EngineConfig::default() };
    Engine::new(Box::new(backend), config)
}

/// A controller's side of the cable, with one command slot's memory.
#[derive(Default)]
pub(crate) struct Host {
    pub(crate) memory: Vec<u8>,
    pub(crate) fises: Vec<(Option<u8>, DeviceFis)>,
    /// The next transfer is damaged on the cable.
    pub(crate) crc: bool,
}

impl Link for Host {
    fn data_in(&mut self, _slot: u8, offset: u64, data: &[u8]) -> Result<(), LinkError> {
        if std::mem::take(&mut self.crc) {
            return Err(LinkError::Crc);
        }
        let start = offset as usize;
        let span = self.memory.get_mut(start..start + data.len()).ok_or(LinkError::Overflow)?;
        span.copy_from_slice(data);
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
        self.fises.push((slot, fis));
    }
}

pub(crate) struct Rig {
    pub(crate) drive: Drive,
    pub(crate) host: Host,
    pub(crate) storage: Arc<Mutex<Storage>>,
    pub(crate) now: Nanos,
}

/// A packet of 12 bytes.
pub(crate) fn packet(bytes: &[u8]) -> [u8; 16] {
    let mut packet = [0; 16];
    packet[..bytes.len()].copy_from_slice(bytes);
    packet
}

/// PACKET, with a byte count limit for PIO, or by DMA.
pub(crate) fn packet_fis(limit: Option<u16>) -> RegisterH2D {
    RegisterH2D {
        is_command: true,
        command: 0xa0,
        features: u16::from(limit.is_none()),
        lba: u64::from(limit.unwrap_or(0)) << 8,
        device: 0xa0,
        ..RegisterH2D::default()
    }
}

/// An ATA command.
pub(crate) fn ata(opcode: u8) -> RegisterH2D {
    RegisterH2D { is_command: true, command: opcode, ..RegisterH2D::default() }
}

impl Rig {
    /// A drive whose power-on attention has been taken, with nothing in it.
    pub(crate) fn empty() -> Self {
        Self::configured(DriveConfig::default())
    }

    /// The same, called otherwise.
    pub(crate) fn configured(config: DriveConfig) -> Self {
        let mut rig = Self {
            drive: Drive::new(config),
            host: Host { memory: vec![0; 1 << 20], ..Host::default() },
            storage: Arc::default(),
            now: Nanos(1),
        };
        assert_eq!(rig.check(&[0]), (6, 0x29, 0));
        rig
    }

    /// The same with 1,000 blocks of image `A` in it, of which the host knows.
    pub(crate) fn loaded() -> Self {
        let mut rig = Self::empty();
        rig.insert("A", 1000 * 2048);
        assert_eq!(rig.check(&[0]), (6, 0x28, 0));
        rig
    }

    pub(crate) fn insert(&mut self, name: &'static str, size_bytes: u64) {
        assert!(self.drive.insert(image(name, size_bytes, &self.storage)).is_ok());
    }

    pub(crate) fn issue(&mut self, fis: RegisterH2D, packet: [u8; 16]) {
        self.drive.execute(3, &fis, &packet, self.now, &mut self.host);
    }

    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            self.now = self.now.plus(1);
            self.drive.poll(self.now, &mut self.host);
            if self.drive.next_wakeup().is_none_or(|at| at > self.now) {
                return;
            }
        }
        panic!("the drive never comes to rest");
    }

    pub(crate) fn fises(&mut self) -> Vec<(Option<u8>, DeviceFis)> {
        std::mem::take(&mut self.host.fises)
    }

    /// Runs a command to its end; gives back its PIO Setup FISes and its registers.
    pub(crate) fn run(&mut self, fis: RegisterH2D, bytes: &[u8]) -> (Vec<DeviceFis>, Registers) {
        self.host.fises.clear();
        self.issue(fis, packet(bytes));
        self.settle();
        let mut fises = self.fises();
        let last = fises.pop();
        let Some((Some(3), DeviceFis::RegisterD2H { interrupt: true, registers })) = last else {
            panic!("{bytes:x?} ended by {last:?}");
        };
        (fises.into_iter().map(|(_, fis)| fis).collect(), registers)
    }

    /// Runs a packet command by DMA that ends well; gives back the first `len` bytes of its data.
    pub(crate) fn good(&mut self, bytes: &[u8], len: usize) -> Vec<u8> {
        self.host.memory.fill(0xee);
        let (setups, registers) = self.run(packet_fis(None), bytes);
        assert_eq!(registers.status, Status::DRDY, "{bytes:x?}: {:x?}", self.drive_sense());
        assert_eq!((registers.error.bits(), registers.count, setups.len()), (0, 3, 0));
        let data = self.host.memory[..len].to_vec();
        assert_eq!(self.host.memory.get(len), Some(&0xee), "{bytes:x?}: more than {len} bytes");
        data
    }

    fn drive_sense(&mut self) -> (u8, u8, u8) {
        let (_, registers) = self.run(packet_fis(None), &[3, 0, 0, 0, 18]);
        assert_eq!(registers.status, Status::DRDY);
        (self.host.memory[2], self.host.memory[12], self.host.memory[13])
    }

    /// Runs a packet command that ends with CHECK CONDITION; gives back key, code and qualifier.
    pub(crate) fn check(&mut self, bytes: &[u8]) -> (u8, u8, u8) {
        let (_, registers) = self.run(packet_fis(None), bytes);
        assert_eq!(registers.status, Status::DRDY | Status::ERR, "{bytes:x?}");
        assert_eq!(registers.count, 3);
        let sense = self.drive_sense();
        assert_eq!(registers.error.bits() >> 4, sense.0);
        sense
    }

    pub(crate) fn hang(&mut self, hangs: bool) {
        self.storage.lock().unwrap().hangs = hangs;
    }
}

/// READ (10).
pub(crate) fn read_10(lba: u32, count: u16) -> [u8; 10] {
    let (lba, count) = (lba.to_be_bytes(), count.to_be_bytes());
    [0x28, 0, lba[0], lba[1], lba[2], lba[3], 0, count[0], count[1], 0]
}

/// The bytes of image `name` from block `lba` on.
pub(crate) fn content(name: &str, lba: u64, blocks: usize) -> Vec<u8> {
    let first = lba * 2048;
    (first..first + (blocks * BLOCK) as u64).map(|at| byte_of(name.as_bytes()[0], at)).collect()
}
