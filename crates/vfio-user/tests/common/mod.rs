//! A server and a client in one thread: the client sends, the server has a turn, the client reads.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use freewheel_vfio_user::client::{Client, ClientError, MapRange, REGION_CONFIG};
use freewheel_vfio_user::codec::{Command, HeaderFlags};
use freewheel_vfio_user::{
    Connection, Device, Disconnect, DmaError, DmaSpace, Interrupt, PciConfig, PciIdentity,
};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;

/// A register file of dwords, with a DMA engine of eight bytes.
///
/// Writing an address to `DMA_READ` copies eight bytes from there to `DMA_DATA`; to `DMA_WRITE`,
/// the other way. `LEVEL` is the interrupt line; raising it is an edge.
#[derive(Default)]
pub struct FakeDevice {
    pub regs: BTreeMap<u64, u8>,
    pub log: Vec<(char, u64, usize)>,
    pub resets: usize,
    pub unmapped: Vec<(u64, u64)>,
    pub bus_master: Vec<bool>,
    pub dma_result: Option<Result<(), DmaError>>,
    pub dma_data: [u8; 8],
    pub interrupt: Interrupt,
}

pub const DMA_READ: u64 = 0x200;
pub const DMA_WRITE: u64 = 0x208;
pub const LEVEL: u64 = 0x210;

impl Device for FakeDevice {
    fn mmio_read(&mut self, _dma: &DmaSpace, offset: u64, data: &mut [u8]) {
        assert!(matches!(data.len(), 1 | 2 | 4 | 8) && offset.is_multiple_of(data.len() as u64));
        self.log.push(('r', offset, data.len()));
        for (i, byte) in data.iter_mut().enumerate() {
            *byte = self.regs.get(&(offset + i as u64)).copied().unwrap_or(0);
        }
    }

    fn mmio_write(&mut self, dma: &DmaSpace, offset: u64, data: &[u8]) {
        assert!(matches!(data.len(), 1 | 2 | 4 | 8) && offset.is_multiple_of(data.len() as u64));
        self.log.push(('w', offset, data.len()));
        for (i, &byte) in data.iter().enumerate() {
            self.regs.insert(offset + i as u64, byte);
        }
        let address = || data.try_into().map_or(0, u64::from_le_bytes);
        match offset {
            DMA_READ => self.dma_result = Some(dma.read(address(), &mut self.dma_data)),
            DMA_WRITE => self.dma_result = Some(dma.write(address(), &self.dma_data)),
            LEVEL => {
                let level = data[0] != 0;
                self.interrupt.messages |= u32::from(level && !self.interrupt.level);
                self.interrupt.level = level;
            }
            _ => {}
        }
    }

    fn reset(&mut self, dma: &DmaSpace) {
        assert!(!dma.bus_master());
        self.resets += 1;
        self.interrupt = Interrupt::default();
    }

    fn interrupt(&mut self) -> Option<Interrupt> {
        let now = self.interrupt;
        self.interrupt.messages = 0;
        Some(now)
    }

    fn bus_master_changed(&mut self, enabled: bool) {
        self.bus_master.push(enabled);
    }

    fn dma_unmapped(&mut self, address: u64, size: u64) {
        self.unmapped.push((address, size));
    }
}

pub struct Rig {
    pub client: Client,
    pub conn: Connection,
    pub dev: FakeDevice,
}

impl Rig {
    /// Connected, with nothing said yet.
    pub fn silent() -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let config = PciConfig::new(PciIdentity::default());
        Self {
            client: Client::from_stream(theirs).unwrap(),
            conn: Connection::new(ours.into(), config),
            dev: FakeDevice::default(),
        }
    }

    /// Version agreed on, memory space and bus mastering enabled.
    pub fn new() -> Self {
        let mut rig = Self::silent();
        let version = b"\0\0\x01\0{\"capabilities\":{}}\0";
        rig.call(Command::Version, version, &[]).unwrap();
        rig.write(REGION_CONFIG, 4, &[6]).unwrap();
        rig
    }

    pub fn turn(&mut self) -> Result<(), Disconnect> {
        self.conn.on_ready(&mut self.dev)
    }

    pub fn call(
        &mut self,
        command: Command,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<Vec<u8>, ClientError> {
        let id = self.client.send(command, HeaderFlags::empty(), payload, fds)?;
        self.turn().unwrap();
        self.client.receive(id)
    }

    pub fn read<const N: usize>(
        &mut self,
        region: u32,
        offset: u64,
    ) -> Result<[u8; N], ClientError> {
        let payload = freewheel_vfio_user::client::access_payload(region, offset, N, &[]);
        let reply = self.call(Command::RegionRead, &payload, &[])?;
        assert_eq!(reply[..12], payload[..12]);
        Ok(reply[16..].try_into().unwrap())
    }

    pub fn write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<(), ClientError> {
        let payload = freewheel_vfio_user::client::access_payload(region, offset, data.len(), data);
        let reply = self.call(Command::RegionWrite, &payload, &[])?;
        assert_eq!(reply, payload[..16]);
        Ok(())
    }

    pub fn map(
        &mut self,
        range: MapRange,
        file: Option<BorrowedFd<'_>>,
    ) -> Result<(), ClientError> {
        let payload = freewheel_vfio_user::client::dma_map_payload(range);
        let reply = self.call(Command::DmaMap, &payload, file.as_slice())?;
        assert!(reply.is_empty());
        Ok(())
    }

    pub fn unmap(&mut self, flags: u32, address: u64, size: u64) -> Result<(), ClientError> {
        let payload = freewheel_vfio_user::client::dma_unmap_payload(flags, address, size);
        let reply = self.call(Command::DmaUnmap, &payload, &[])?;
        assert_eq!(reply, payload, "the entry of the request");
        Ok(())
    }

    pub fn set_irqs(
        &mut self,
        index: u32,
        flags: u32,
        count: u32,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), ClientError> {
        let payload = words(&[20, flags, index, 0, count]);
        self.call(Command::DeviceSetIrqs, &payload, fds).map(|reply| assert!(reply.is_empty()))
    }

    /// Lets the device read eight bytes of guest memory.
    pub fn dma_read(&mut self, address: u64) -> Result<[u8; 8], DmaError> {
        self.write(5, DMA_READ, &address.to_le_bytes()).unwrap();
        self.dev.dma_result.take().unwrap().map(|()| self.dev.dma_data)
    }

    /// Lets the device write eight bytes of guest memory.
    pub fn dma_write(&mut self, address: u64, data: [u8; 8]) -> Result<(), DmaError> {
        self.dev.dma_data = data;
        self.write(5, DMA_WRITE, &address.to_le_bytes()).unwrap();
        self.dev.dma_result.take().unwrap()
    }
}

pub fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>) -> Errno {
    match result {
        Err(ClientError::Refused(errno)) => errno,
        other => panic!("not refused: {other:?}"),
    }
}

pub fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

pub fn memfd(size: u64) -> OwnedFd {
    let fd = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&fd, size).unwrap();
    fd
}

pub fn event() -> OwnedFd {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap()
}

/// How often the eventfd was fired since the last look.
pub fn fired(fd: &OwnedFd) -> u64 {
    let mut count = [0; 8];
    match rustix::io::read(fd, &mut count) {
        Ok(_) => u64::from_ne_bytes(count),
        Err(Errno::AGAIN) => 0,
        Err(errno) => panic!("{errno}"),
    }
}
