//! A small blocking vfio-user client, for tests, drills and measurements.
//!
//! It plays the monitor's part: it proposes a version, maps memory, hands over eventfds and
//! accesses regions. It is no part of serving a disk, trusts its server, and waits for each reply
//! up to a time-out.

use crate::codec::{
    Capabilities, Command, Header, HeaderError, HeaderFlags, IrqSetFlags, MAX_FDS, VersionRequest,
};
use rustix::cmsg_space;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use thiserror::Error;

/// The region of BAR5.
pub const REGION_BAR5: u32 = 5;
/// The region of the configuration space.
pub const REGION_CONFIG: u32 = 7;

/// Why a request failed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The server answered with an error.
    #[error("the server refused: {0}")]
    Refused(Errno),
    /// The server's reply makes no sense.
    #[error("malformed reply: {0}")]
    Malformed(&'static str),
    /// The server's reply has an impossible header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The socket failed, or the time-out passed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Sending failed.
    #[error(transparent)]
    Os(#[from] Errno),
}

/// A range for [`Client::dma_map`].
#[derive(Debug, Clone, Copy)]
pub struct MapRange {
    /// Where it begins in the device's address space.
    pub address: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Where it begins in the file.
    pub offset: u64,
    /// Whether the device may write to it; it may always read.
    pub writable: bool,
}

/// A connection to a server.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    next_id: u16,
}

impl Client {
    /// Connects to a server and agrees on a version with it.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let mut client = Self::from_stream(UnixStream::connect(path)?)?;
        client.negotiate()?;
        Ok(client)
    }

    /// Takes a connected socket; nothing is sent yet.
    pub fn from_stream(stream: UnixStream) -> Result<Self, ClientError> {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.set_write_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self { stream, next_id: 0 })
    }

    /// The socket.
    #[must_use]
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Proposes version 0.1 and all capabilities.
    pub fn negotiate(&mut self) -> Result<VersionRequest, ClientError> {
        self.negotiate_as(VersionRequest {
            major: 0,
            minor: 1,
            capabilities: Some(Capabilities {
                max_msg_fds: Some(MAX_FDS as u64),
                max_data_xfer_size: Some(1 << 20),
                max_dma_maps: Some(65_535),
                pgsizes: Some(4096),
                write_multiple: Some(true),
            }),
        })
    }

    /// Makes a proposal; returns what the server answered.
    pub fn negotiate_as(&mut self, version: VersionRequest) -> Result<VersionRequest, ClientError> {
        let reply = self.call(Command::Version, &version.encode(), &[])?;
        VersionRequest::decode(&reply).map_err(|_| ClientError::Malformed("version"))
    }

    /// Maps memory, with the file behind it or without.
    pub fn dma_map(
        &mut self,
        range: MapRange,
        file: Option<BorrowedFd<'_>>,
    ) -> Result<(), ClientError> {
        let payload = dma_map_payload(range);
        self.call(Command::DmaMap, &payload, file.as_slice()).map(drop)
    }

    /// Unmaps memory.
    pub fn dma_unmap(&mut self, address: u64, size: u64) -> Result<(), ClientError> {
        self.call(Command::DmaUnmap, &dma_unmap_payload(0, address, size), &[]).map(drop)
    }

    /// Unmaps all memory.
    pub fn dma_unmap_all(&mut self) -> Result<(), ClientError> {
        self.call(Command::DmaUnmap, &dma_unmap_payload(2, 0, 0), &[]).map(drop)
    }

    /// DEVICE_SET_IRQS.
    pub fn set_irqs(
        &mut self,
        index: u32,
        flags: IrqSetFlags,
        start: u32,
        count: u32,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), ClientError> {
        let payload = words(&[20, flags.bits(), index, start, count]);
        self.call(Command::DeviceSetIrqs, &payload, fds).map(drop)
    }

    /// Resets the device.
    pub fn reset(&mut self) -> Result<(), ClientError> {
        self.call(Command::DeviceReset, &[], &[]).map(drop)
    }

    /// Reads from a region.
    pub fn region_read(
        &mut self,
        region: u32,
        offset: u64,
        data: &mut [u8],
    ) -> Result<(), ClientError> {
        let payload = access_payload(region, offset, data.len(), &[]);
        let reply = self.call(Command::RegionRead, &payload, &[])?;
        let got = reply.get(16..).unwrap_or_default();
        if got.len() != data.len() {
            return Err(ClientError::Malformed("region read"));
        }
        data.copy_from_slice(got);
        Ok(())
    }

    /// Writes to a region and waits for the answer.
    pub fn region_write(
        &mut self,
        region: u32,
        offset: u64,
        data: &[u8],
    ) -> Result<(), ClientError> {
        let payload = access_payload(region, offset, data.len(), data);
        self.call(Command::RegionWrite, &payload, &[]).map(drop)
    }

    /// Writes to a region without waiting (a posted write).
    pub fn region_post(
        &mut self,
        region: u32,
        offset: u64,
        data: &[u8],
    ) -> Result<(), ClientError> {
        let payload = access_payload(region, offset, data.len(), data);
        self.send(Command::RegionWrite, HeaderFlags::NO_REPLY, &payload, &[]).map(drop)
    }

    /// Reads a dword of BAR5.
    pub fn read32(&mut self, offset: u64) -> Result<u32, ClientError> {
        let mut bytes = [0; 4];
        self.region_read(REGION_BAR5, offset, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Writes a dword of BAR5, posted.
    pub fn write32(&mut self, offset: u64, value: u32) -> Result<(), ClientError> {
        self.region_post(REGION_BAR5, offset, &value.to_le_bytes())
    }

    /// Sends a command and waits for its reply's payload.
    pub fn call(
        &mut self,
        command: Command,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<Vec<u8>, ClientError> {
        let id = self.send(command, HeaderFlags::empty(), payload, fds)?;
        self.receive(id)
    }

    /// Sends a command; returns its id.
    pub fn send(
        &mut self,
        command: Command,
        flags: HeaderFlags,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<u16, ClientError> {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        let size = (Header::SIZE + payload.len()) as u32;
        let header = Header { id, command: command as u16, size, flags, error: 0 };
        self.send_raw(&[&header.encode()[..], payload].concat(), fds)?;
        Ok(id)
    }

    /// Sends any bytes, with any descriptors.
    pub fn send_raw(&mut self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), ClientError> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(64))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(Errno::TOOMANYREFS.into());
        }
        let iov = [IoSlice::new(bytes)];
        let sent = sendmsg(&self.stream, &iov, &mut control, SendFlags::NOSIGNAL)?;
        self.stream.write_all(&bytes[sent..])?;
        Ok(())
    }

    /// Waits for the reply to a command.
    pub fn receive(&mut self, id: u16) -> Result<Vec<u8>, ClientError> {
        let (header, payload) = self.receive_any()?;
        if !header.is_reply() || header.id != id {
            return Err(ClientError::Malformed("not the reply to this command"));
        }
        if header.flags.contains(HeaderFlags::ERROR) {
            return Err(ClientError::Refused(Errno::from_raw_os_error(header.error as i32)));
        }
        Ok(payload)
    }

    /// Waits for any message.
    pub fn receive_any(&mut self) -> Result<(Header, Vec<u8>), ClientError> {
        let mut head = [0; Header::SIZE];
        self.stream.read_exact(&mut head)?;
        let header = Header::decode(&head)?;
        let mut payload = vec![0; header.payload_len()];
        self.stream.read_exact(&mut payload)?;
        Ok((header, payload))
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The payload of a DMA_MAP.
#[must_use]
pub fn dma_map_payload(range: MapRange) -> Vec<u8> {
    let mut payload = words(&[32, if range.writable { 3 } else { 1 }]);
    for value in [range.offset, range.address, range.size] {
        payload.extend(value.to_le_bytes());
    }
    payload
}

/// The payload of a DMA_UNMAP.
#[must_use]
pub fn dma_unmap_payload(flags: u32, address: u64, size: u64) -> Vec<u8> {
    let mut payload = words(&[24, flags]);
    payload.extend(address.to_le_bytes());
    payload.extend(size.to_le_bytes());
    payload
}

/// The payload of a REGION_READ or REGION_WRITE.
#[must_use]
pub fn access_payload(region: u32, offset: u64, count: usize, data: &[u8]) -> Vec<u8> {
    let mut payload = offset.to_le_bytes().to_vec();
    payload.extend(region.to_le_bytes());
    payload.extend((count as u32).to_le_bytes());
    payload.extend(data);
    payload
}
