//! A disk's non-volatile state, as a file has it that anything may have happened to.
//!
//! The checksum is put right, so that what is behind it is reached. Judged: nothing panics; what is
//! refused leaves the disk as it was; what is taken up is given back as a state that can be taken
//! up again, and the disk still answers.

use freewheel_ata::fis::{DeviceFis, RegisterH2D};
use freewheel_ata::{Device, Disk, DiskConfig, Link, LinkError};
use freewheel_block::{Engine, EngineConfig, Nanos};

use crate::{Input, Writer, storage};

/// Bytes in front of the sections, of which the last four are the length of what follows.
const HEAD_BYTES: usize = 16;

/// A host that only counts.
#[derive(Default)]
struct Host {
    fises: usize,
}

impl Link for Host {
    fn data_in(&mut self, _slot: u8, _offset: u64, _data: &[u8]) -> Result<(), LinkError> {
        Ok(())
    }

    fn data_out(&mut self, _slot: u8, _offset: u64, data: &mut [u8]) -> Result<(), LinkError> {
        data.fill(0);
        Ok(())
    }

    fn fis(&mut self, _slot: Option<u8>, _fis: DeviceFis) {
        self.fises += 1;
    }
}

fn disk() -> Disk {
    let config = EngineConfig { slots: 2, buf_bytes: 8192, ..EngineConfig::default() };
    let engine = Engine::new(Box::new(storage::disk(4, 1, 512)), config);
    Disk::new(DiskConfig::default(), engine).expect("a good configuration")
}

fn state(disk: &Disk) -> Vec<u8> {
    disk.saved_state(Nanos(1)).expect("a disk has a state")
}

/// Puts length and checksum right.
fn seal(mut body: Vec<u8>) -> Vec<u8> {
    if body.len() >= HEAD_BYTES {
        let len_bytes = (body.len() - HEAD_BYTES) as u32;
        body[HEAD_BYTES - 4..HEAD_BYTES].copy_from_slice(&len_bytes.to_le_bytes());
    }
    let crc = crc32(&body);
    body.extend_from_slice(&crc.to_le_bytes());
    body
}

/// CRC-32 as IEEE 802.3 has it.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 != 0 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 }
        })
    })
}

/// One input: what happens to a good state.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut disk = disk();
    let good = state(&disk);
    let mut body = good[..good.len() - 4].to_vec();
    assert_eq!(seal(body.clone()), good, "the checksum is known here");
    let is_sealed = input.u8() & 1 == 0;
    while !input.is_empty() {
        let at = usize::from(input.u16());
        match input.u8() % 4 {
            0 | 1 => {
                // Overwrites.
                let len = input.u8() % 16;
                let bytes = input.slice(len.into());
                if let Some(place) = body.get_mut(at..at + bytes.len()) {
                    place.copy_from_slice(bytes);
                }
            }
            2 => body.truncate(at.max(1)),
            _ => {
                // Inserts: a section that was not there, a longer one.
                let len = input.u8();
                let bytes = input.slice(len.into());
                let at = at.min(body.len());
                body.splice(at..at, bytes.iter().copied());
            }
        }
    }
    let bytes = if is_sealed { seal(body) } else { body };
    if disk.restore(&bytes).is_ok() {
        let mut other = self::disk();
        other.restore(&state(&disk)).expect("what a disk saves, it takes up");
    } else {
        assert_eq!(state(&disk), good, "what is refused changes nothing");
    }
    let mut host = Host::default();
    disk.comreset(Nanos(2), &mut host);
    let identify = RegisterH2D { is_command: true, command: 0xec, ..RegisterH2D::default() };
    disk.execute(0, &identify, &[0; 16], Nanos(3), &mut host);
    disk.poll(Nanos(4), &mut host);
    assert_eq!(host.fises, 2, "a signature, and the end of IDENTIFY DEVICE");
    disk.engine().assert_consistent();
}

/// A state as it is, and bytes of it changed.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let edit = |at: u16, bytes: &[u8]| {
        let [low, high] = at.to_le_bytes();
        let head = [0, low, high, 0, bytes.len() as u8];
        Writer::default().bytes(&head).bytes(bytes).finish()
    };
    let insert = [0, 0xff, 0xff, 3, 8, 0x99, 0, 2, 0, 0, 0, 1, 2];
    vec![
        ("good", vec![0]),
        ("damaged", vec![1, 20, 0, 0, 1, 0xff]),
        ("version", edit(8, &[9])),
        ("identity", edit(22, &[1])),
        ("later", edit(100, &[0xff; 8])),
        ("cut", vec![0, 60, 0, 2]),
        ("unknown-section", insert.to_vec()),
    ]
}
