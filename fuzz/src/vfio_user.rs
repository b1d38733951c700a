//! A vfio-user server and a peer that sends anything: messages well formed, nearly so, or bytes.
//!
//! Judged: nothing panics or waits; decoding alone and serving agree with their bounds; every
//! message that wants a reply gets one with its own number, and none that was not asked for; a
//! connection that has ended stays ended, with the same reason.

use std::os::unix::net::UnixStream;

use freewheel_vfio_user::client::Client;
use freewheel_vfio_user::codec::{
    Header, HeaderFlags, IrqData, MAX_DATA_XFER, MAX_MULTI_WRITES, Request,
};
use freewheel_vfio_user::{Connection, Device, DmaSpace, Interrupt, PciConfig, PciIdentity};

use crate::{Input, Writer};

/// A device that checks what it is asked, and keeps a register.
#[derive(Default)]
struct Probe {
    level: bool,
    messages: u32,
}

impl Device for Probe {
    fn mmio_read(&mut self, dma: &DmaSpace, offset: u64, data: &mut [u8]) {
        assert!(matches!(data.len(), 1 | 2 | 4 | 8) && offset.is_multiple_of(data.len() as u64));
        let _ = dma.read(offset, data);
    }

    fn mmio_write(&mut self, dma: &DmaSpace, offset: u64, data: &[u8]) {
        assert!(matches!(data.len(), 1 | 2 | 4 | 8) && offset.is_multiple_of(data.len() as u64));
        assert!(dma.write(offset, data).is_err(), "no memory was ever mapped");
        self.messages |= u32::from(data[0]);
        self.level = data[0] & 1 != 0;
    }

    fn reset(&mut self, dma: &DmaSpace) {
        assert!(!dma.bus_master());
        *self = Self::default();
    }

    fn interrupt(&mut self) -> Option<Interrupt> {
        let messages = std::mem::take(&mut self.messages);
        Some(Interrupt { level: self.level, messages })
    }
}

/// A message as an event has it.
struct Message {
    header: Header,
    payload: Vec<u8>,
}

/// What a message of `bytes` would be: nearly always a well-formed one.
fn message(input: &mut Input) -> Message {
    let [command, bits, len] = input.array();
    let mut payload = input.slice(len.into()).to_vec();
    // Where most commands have `argsz`, a size that is large enough.
    if bits & 1 == 0 && matches!(command, 2..=8) && payload.len() >= 4 {
        payload[..4].copy_from_slice(&64u32.to_le_bytes());
    }
    // Where an access has its count, the length that it has.
    if bits & 2 == 0 && command == 10 && payload.len() >= 16 {
        let count = payload.len() as u32 - 16;
        payload[12..16].copy_from_slice(&count.to_le_bytes());
    }
    let size = Header::SIZE as u32 + payload.len() as u32;
    let flags = if bits & 4 != 0 { HeaderFlags::NO_REPLY } else { HeaderFlags::empty() };
    let header = Header { id: input.u16(), command: command.into(), size, flags, error: 0 };
    Message { header, payload }
}

/// Decoding, without a server.
fn decode(header: &Header, payload: &[u8]) {
    let bytes = header.encode();
    match Header::decode(&bytes) {
        Ok(again) => assert_eq!(again, *header),
        Err(_) => return,
    }
    let Ok(request) = Request::decode(header, payload) else { return };
    match request {
        Request::DeviceSetIrqs(irqs) => {
            if let IrqData::Bool(data) = irqs.data {
                assert_eq!(data.len(), irqs.count as usize);
            }
        }
        Request::RegionRead(access) => assert!(access.count as usize <= MAX_DATA_XFER),
        Request::RegionWrite(access, data) => assert_eq!(data.len(), access.count as usize),
        Request::RegionWriteMulti(writes) => {
            assert!(writes.len() <= MAX_MULTI_WRITES);
            assert!(writes.iter().all(|write| write.data.len() <= 8));
        }
        _ => {}
    }
}

/// One input: events, on one connection.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let bits = input.u8();
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    let mut client = Client::from_stream(theirs).expect("a client");
    let mut connection = Connection::new(ours.into(), PciConfig::new(PciIdentity::default()));
    let mut device = Probe::default();
    let mut pci = PciConfig::new(PciIdentity::default());
    let mut turn = |connection: &mut Connection| connection.on_ready(&mut device).is_ok();
    if bits & 1 == 0 {
        let version = b"\0\0\x01\0{\"capabilities\":{}}\0";
        let size = (Header::SIZE + version.len()) as u32;
        let header = Header { id: 1, command: 1, size, flags: HeaderFlags::empty(), error: 0 };
        client.send_raw(&header.encode(), &[]).expect("room");
        client.send_raw(version, &[]).expect("room");
        assert!(turn(&mut connection), "a good version is accepted");
        client.receive_any().expect("an answer");
    }
    let mut in_step = true;
    while !input.is_empty() {
        match input.u8() % 8 {
            0 => {
                // Bytes: what they are is not followed from here on.
                let len = input.u8().into();
                in_step = false;
                if client.send_raw(input.slice(len), &[]).is_err() || !turn(&mut connection) {
                    break;
                }
            }
            1 => {
                let [offset, len] = input.array();
                let mut bytes = [0; 16];
                let len = usize::from(len) % 17;
                bytes[..len].copy_from_slice(&input.array::<16>()[..len]);
                pci.write(offset.into(), &bytes[..len]);
                pci.read(offset.into(), &mut bytes[..len]);
                let _ = (pci.memory_open(), pci.interrupt_route());
                let data = pci.data_access(offset.into(), len);
                assert!(data.is_none_or(|data| data.offset.is_multiple_of(4)));
            }
            2 => {
                let header: [u8; Header::SIZE] = input.array();
                if let Ok(header) = Header::decode(&header) {
                    decode(&header, input.slice(header.payload_len()));
                }
            }
            3 => connection.set_interrupt(input.u8() & 1 != 0, input.u8().into()),
            _ => {
                let Message { header, payload } = message(&mut input);
                decode(&header, &payload);
                let sent = client.send_raw(&[&header.encode()[..], &payload].concat(), &[]);
                let goes_on = turn(&mut connection);
                if sent.is_err() || !goes_on {
                    break;
                }
                if in_step && !header.flags.contains(HeaderFlags::NO_REPLY) {
                    let (reply, _) = client.receive_any().expect("a reply");
                    assert_eq!((reply.id, reply.command), (header.id, header.command));
                    assert!(reply.flags.contains(HeaderFlags::REPLY));
                }
            }
        }
    }
    let first = connection.on_ready(&mut device);
    if first.is_err() {
        assert_eq!(connection.on_ready(&mut device), first, "an end is an end");
        assert!(!connection.wants_read() && !connection.wants_write());
    }
}

/// Each command, well formed.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let message = |command: u8, payload: &[u8]| {
        let head = [4, command, 0, payload.len() as u8];
        [&head[..], payload, &[command, 0]].concat()
    };
    let words =
        |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let access = |offset: u32, region: u32, data: &[u8]| {
        [words(&[offset, 0, region, data.len() as u32]), data.to_vec()].concat()
    };
    let seed =
        |messages: &[Vec<u8>]| Writer::default().bytes(&[0]).bytes(&messages.concat()).finish();
    let enable = message(10, &access(4, 7, &[6]));
    let read = message(9, &words(&[0, 0, 5, 4]));
    let write = message(10, &access(8, 5, &[1, 0, 0, 0]));
    let multi = [&[1, 0, 0, 0, 0, 0, 0, 0][..], &access(16, 5, &[3; 4]), &[0; 4]].concat();
    vec![
        ("version", Writer::default().bytes(&[1]).bytes(&message(1, b"\0\0\x01\0{}\0")).finish()),
        ("map", seed(&[message(2, &words(&[32, 3, 0, 0, 0x1000, 0, 0x1000, 0]))])),
        ("unmap", seed(&[message(3, &words(&[24, 2, 0, 0, 0, 0]))])),
        ("info", seed(&[message(4, &words(&[16, 0, 0, 0]))])),
        ("region-info", seed(&[message(5, &words(&[32, 0, 5, 0, 0, 0, 0, 0]))])),
        ("irq-info", seed(&[message(7, &words(&[16, 0, 1, 0]))])),
        ("set-irqs", seed(&[message(8, &words(&[20, 0x21, 1, 0, 0]))])),
        ("access", seed(&[enable.clone(), read.clone(), write.clone(), read])),
        ("multi", seed(&[enable, message(15, &multi)])),
        ("reset", seed(&[write, message(13, &[])])),
        ("config", Writer::default().bytes(&[0, 1, 0x82, 2, 1, 0]).finish()),
    ]
}
