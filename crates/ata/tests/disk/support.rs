//! A disk on a RAM backend, and a controller that notes down what it sees.

use std::sync::{Arc, Mutex, MutexGuard};

use freewheel_ata::fis::{DeviceFis, Error, RegisterH2D, Registers, Status};
use freewheel_ata::{Device, Disk, DiskConfig, Link, LinkError};
use freewheel_block::{
    Backend, BackendInfo, ByteRange, DiscardSupport, Done, Engine, EngineConfig, Io, IoError,
    Nanos, OpKind,
};

pub(crate) const SECTOR: usize = 512;

/// What the RAM disk has and does; the test steers it while the engine owns the disk.
#[derive(Default)]
pub(crate) struct Ram {
    pub(crate) data: Vec<u8>,
    /// Requests stay where they are.
    pub(crate) hangs: bool,
    /// The next requests of this kind fail, if they touch this byte.
    pub(crate) fails: Option<(OpKind, u64, IoError)>,
    /// Every request that was carried out, in order.
    pub(crate) log: Vec<(OpKind, ByteRange, bool)>,
    waiting: Vec<Io>,
}

impl Ram {
    fn carry_out(&mut self, mut io: Io) -> Done {
        if let Some((kind, byte, error)) = self.fails
            && kind == io.kind
            && (kind == OpKind::Flush || io.range.overlaps(ByteRange::new(byte, 1)))
        {
            return io.done(Err(error));
        }
        self.log.push((io.kind, io.range, io.fua));
        let start = io.range.offset_bytes as usize;
        let span = start..start + io.range.len_bytes as usize;
        match io.kind {
            OpKind::Read => io.data_mut().copy_from_slice(&self.data[span]),
            OpKind::Write => self.data[span].copy_from_slice(io.data()),
            OpKind::Discard | OpKind::WriteZeroes => self.data[span].fill(0),
            OpKind::Flush => {}
        }
        let len_bytes = io.range.len_bytes;
        io.done(Ok(len_bytes))
    }
}

struct RamBackend {
    info: BackendInfo,
    ram: Arc<Mutex<Ram>>,
}

impl Backend for RamBackend {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    fn submit(&mut self, io: Io, _now: Nanos) {
        self.ram.lock().unwrap().waiting.push(io);
    }

    fn poll(&mut self, _now: Nanos, done: &mut Vec<Done>) {
        let mut ram = self.ram.lock().unwrap();
        if ram.hangs {
            return;
        }
        for io in std::mem::take(&mut ram.waiting) {
            let ended = ram.carry_out(io);
            done.push(ended);
        }
    }

    fn next_wakeup(&self) -> Option<Nanos> {
        let ram = self.ram.lock().unwrap();
        (!ram.hangs && !ram.waiting.is_empty()).then_some(Nanos(0))
    }
}

/// A controller's side of the cable.
pub(crate) struct Host {
    /// The memory of each slot's scatter list.
    pub(crate) memory: Vec<Vec<u8>>,
    /// Every FIS, with its slot.
    pub(crate) fises: Vec<(Option<u8>, DeviceFis)>,
    /// Bytes read from, and written to, host memory.
    pub(crate) out_bytes: u64,
    pub(crate) in_bytes: u64,
    /// The next transfer is damaged on the cable.
    pub(crate) crc: bool,
}

impl Link for Host {
    fn data_in(&mut self, slot: u8, offset: u64, data: &[u8]) -> Result<(), LinkError> {
        if std::mem::take(&mut self.crc) {
            return Err(LinkError::Crc);
        }
        let memory = &mut self.memory[usize::from(slot)];
        let start = offset as usize;
        memory.get_mut(start..start + data.len()).ok_or(LinkError::Overflow)?.copy_from_slice(data);
        self.in_bytes += data.len() as u64;
        Ok(())
    }

    fn data_out(&mut self, slot: u8, offset: u64, data: &mut [u8]) -> Result<(), LinkError> {
        if std::mem::take(&mut self.crc) {
            return Err(LinkError::Crc);
        }
        let memory = &self.memory[usize::from(slot)];
        let start = offset as usize;
        data.copy_from_slice(memory.get(start..start + data.len()).ok_or(LinkError::Overflow)?);
        self.out_bytes += data.len() as u64;
        Ok(())
    }

    fn fis(&mut self, slot: Option<u8>, fis: DeviceFis) {
        self.fises.push((slot, fis));
    }
}

/// How to build a [`Rig`].
pub(crate) struct Setup {
    pub(crate) config: DiskConfig,
    pub(crate) size_bytes: u64,
    pub(crate) read_only: bool,
    pub(crate) discard: Option<DiscardSupport>,
    pub(crate) engine: EngineConfig,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            config: DiskConfig { physical_sector_bytes: 512, ..DiskConfig::default() },
            size_bytes: 1 << 20,
            read_only: false,
            discard: Some(DiscardSupport { align_bytes: 512, reads_zeroes: true }),
            engine: EngineConfig { slots: 8, buf_bytes: 16 << 10, ..EngineConfig::default() },
        }
    }
}

pub(crate) struct Rig {
    pub(crate) disk: Disk,
    pub(crate) host: Host,
    pub(crate) ram: Arc<Mutex<Ram>>,
    pub(crate) now: Nanos,
}

impl Default for Rig {
    fn default() -> Self {
        Setup::default().build()
    }
}

impl Setup {
    pub(crate) fn build(self) -> Rig {
        let data = (0..self.size_bytes).map(|at| (at / 512 + 1) as u8 ^ at as u8).collect();
        let ram = Arc::new(Mutex::new(Ram { data, ..Ram::default() }));
        let info = BackendInfo {
            engine_name: "memory".into(),
            size_bytes: self.size_bytes,
            io_align_bytes: 1,
            read_only: self.read_only,
            fua: true,
            discard: self.discard,
            write_zeroes: true,
            queue_depth: 64,
        };
        let backend = RamBackend { info, ram: Arc::clone(&ram) };
        let engine = Engine::new(Box::new(backend), self.engine);
        let disk = Disk::new(self.config, engine).expect("a good configuration");
        let host = Host {
            memory: vec![vec![0; 256 << 10]; 32],
            fises: Vec::new(),
            out_bytes: 0,
            in_bytes: 0,
            crc: false,
        };
        Rig { disk, host, ram, now: Nanos(1) }
    }
}

/// A command FIS with an LBA-mode device register.
pub(crate) fn command(opcode: u8) -> RegisterH2D {
    RegisterH2D { is_command: true, command: opcode, device: 0x40, ..RegisterH2D::default() }
}

/// A 28-bit command.
pub(crate) fn at28(opcode: u8, lba: u64, count: u16) -> RegisterH2D {
    let device = 0x40 | (lba >> 24 & 0x0f) as u8;
    RegisterH2D { lba: lba & 0xff_ffff, device, count, ..command(opcode) }
}

/// A 48-bit command.
pub(crate) fn at48(opcode: u8, lba: u64, count: u16) -> RegisterH2D {
    RegisterH2D { lba, count, ..command(opcode) }
}

/// A queued command.
pub(crate) fn queued(opcode: u8, tag: u8, lba: u64, sectors: u16) -> RegisterH2D {
    RegisterH2D { lba, features: sectors, count: u16::from(tag) << 3, ..command(opcode) }
}

impl Rig {
    pub(crate) fn ram(&self) -> MutexGuard<'_, Ram> {
        self.ram.lock().unwrap()
    }

    pub(crate) fn issue(&mut self, slot: u8, fis: RegisterH2D) {
        self.disk.execute(slot, &fis, &[0; 16], self.now, &mut self.host);
        self.disk.engine().assert_consistent();
    }

    /// Polls until nothing asks to be polled.
    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            self.now = self.now.plus(1);
            self.disk.poll(self.now, &mut self.host);
            self.disk.engine().assert_consistent();
            if self.disk.next_wakeup().is_none_or(|at| at > self.now) {
                return;
            }
        }
        panic!("the disk never comes to rest");
    }

    /// Every FIS since the last call.
    pub(crate) fn fises(&mut self) -> Vec<(Option<u8>, DeviceFis)> {
        std::mem::take(&mut self.host.fises)
    }

    /// Runs one command in slot 0 on its own; gives back all its FISes.
    pub(crate) fn run_all(&mut self, fis: RegisterH2D) -> Vec<DeviceFis> {
        self.host.fises.clear();
        self.issue(0, fis);
        self.settle();
        let fises = self.fises();
        assert!(fises.iter().all(|(slot, _)| *slot == Some(0)), "{fises:?}");
        fises.into_iter().map(|(_, fis)| fis).collect()
    }

    /// Runs one command that ends by its only D2H FIS, with an interrupt; gives back its registers.
    pub(crate) fn run(&mut self, fis: RegisterH2D) -> Registers {
        let mut fises = self.run_all(fis);
        let last = fises.pop();
        let Some(DeviceFis::RegisterD2H { interrupt: true, registers }) = last else {
            panic!("{fis:x?} ended by {last:?}");
        };
        assert!(fises.iter().all(|fis| matches!(fis, DeviceFis::PioSetup { .. })), "{fises:?}");
        registers
    }

    pub(crate) fn good(&mut self, fis: RegisterH2D) -> Registers {
        let registers = self.run(fis);
        assert_eq!(registers.status, Status::DRDY | Status::DSC, "{fis:x?}");
        assert_eq!(registers.error, Error::empty());
        registers
    }

    pub(crate) fn bad(&mut self, fis: RegisterH2D, error: Error) -> Registers {
        let registers = self.run(fis);
        assert_eq!(registers.status, Status::DRDY | Status::DSC | Status::ERR, "{fis:x?}");
        assert_eq!(registers.error, error, "{fis:x?}");
        registers
    }

    /// Runs a PIO-in command and checks its PIO Setup FISes; gives back the sizes of the blocks
    /// that they announce: the first and the last.
    pub(crate) fn pio_in(&mut self, fis: RegisterH2D) -> Vec<u16> {
        let fises = self.run_all(fis);
        let count = fises.len();
        let ready = Status::DRDY | Status::DSC;
        let check = |(index, it): (usize, &DeviceFis)| match *it {
            DeviceFis::PioSetup {
                interrupt,
                to_host,
                registers,
                ending_status,
                transfer_count_bytes,
            } => {
                assert!(interrupt && to_host);
                assert_eq!(registers.status, ready | Status::DRQ);
                let last = index + 1 == count;
                assert_eq!(ending_status, if last { ready } else { ready | Status::BSY });
                transfer_count_bytes
            }
            ref other => panic!("{fis:x?} sent {other:?}"),
        };
        fises.iter().enumerate().map(check).collect()
    }

    pub(crate) fn identify(&mut self) -> Vec<u16> {
        assert_eq!(self.pio_in(command(0xec)), [512]);
        self.host.memory[0][..512]
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
            .collect()
    }

    /// Reads log 10h, which ends the error state of the queue; gives back its page.
    pub(crate) fn error_log(&mut self) -> Vec<u8> {
        self.issue(0, at48(0x2f, 0x10, 1));
        self.settle();
        self.fises();
        self.host.memory[0][..512].to_vec()
    }

    /// What the disk wants to have saved.
    pub(crate) fn disk_state(&mut self) -> Option<Vec<u8>> {
        self.disk.take_saved_state(self.now)
    }

    /// The only Set Device Bits FIS since the last look.
    pub(crate) fn set_device_bits(&mut self) -> (Status, Error, u32) {
        let fises = self.fises();
        let [(None, DeviceFis::SetDeviceBits { interrupt: true, status, error, active, .. })] =
            fises[..]
        else {
            panic!("{fises:?}");
        };
        (status, error, active)
    }
}

pub(crate) fn is_acceptance(fis: &(Option<u8>, DeviceFis), slot: u8) -> bool {
    matches!(fis, (Some(at), DeviceFis::RegisterD2H { interrupt: false, registers })
        if *at == slot && registers.status == Status::DRDY | Status::DSC)
}
