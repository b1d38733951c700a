use super::*;
use proptest::prelude::*;
use rustix::io::Errno;

fn header(command: Command, payload: usize) -> Header {
    Header {
        id: 7,
        command: command as u16,
        size: (Header::SIZE + payload) as u32,
        flags: HeaderFlags::empty(),
        error: 0,
    }
}

fn decode(command: Command, payload: &[u8]) -> Result<Request<'_>, PayloadError> {
    Request::decode(&header(command, payload.len()), payload)
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn headers_survive_the_way_there_and_back() {
    let header = Header {
        id: 0x1234,
        command: 9,
        size: 32,
        flags: HeaderFlags::REPLY | HeaderFlags::ERROR,
        error: 22,
    };
    let bytes = header.encode();
    assert_eq!(bytes, [0x34, 0x12, 9, 0, 32, 0, 0, 0, 0x21, 0, 0, 0, 22, 0, 0, 0]);
    assert_eq!(Header::decode(&bytes), Ok(header));
}

#[test]
fn impossible_headers_are_refused() {
    let mut bytes = header(Command::RegionRead, 16).encode();
    for (size, error) in [
        (0, HeaderError::TooShort(0)),
        (15, HeaderError::TooShort(15)),
        (3 << 30, HeaderError::TooLong(3 << 30)),
        (u32::MAX, HeaderError::TooLong(u32::MAX)),
        ((MAX_PAYLOAD + 17) as u32, HeaderError::TooLong((MAX_PAYLOAD + 17) as u32)),
    ] {
        bytes[4..8].copy_from_slice(&size.to_le_bytes());
        assert_eq!(Header::decode(&bytes), Err(error));
    }
    bytes[4..8].copy_from_slice(&((MAX_PAYLOAD + 16) as u32).to_le_bytes());
    assert_eq!(Header::decode(&bytes).map(|header| header.payload_len()), Ok(MAX_PAYLOAD));
    for kind in 2..16 {
        bytes[8] = kind;
        assert_eq!(Header::decode(&bytes), Err(HeaderError::Type(kind.into())));
    }
}

#[test]
fn payloads_that_end_early_are_refused() {
    for (command, need) in [
        (Command::Version, 4),
        (Command::DmaMap, 32),
        (Command::DmaUnmap, 24),
        (Command::DeviceGetInfo, 16),
        (Command::DeviceGetRegionInfo, 32),
        (Command::DeviceGetRegionIoFds, 16),
        (Command::DeviceGetIrqInfo, 16),
        (Command::DeviceSetIrqs, 20),
        (Command::RegionRead, 16),
        (Command::RegionWrite, 16),
        (Command::RegionWriteMulti, 8),
    ] {
        for got in 0..need {
            let error = decode(command, &vec![0xff; got]).unwrap_err();
            assert_eq!(error, PayloadError::TooShort { got, need }, "{command:?}");
        }
    }
}

#[test]
fn argsz_must_cover_the_structure() {
    for (command, size) in [
        (Command::DmaMap, 32_u32),
        (Command::DmaUnmap, 24),
        (Command::DeviceGetInfo, 16),
        (Command::DeviceGetRegionInfo, 32),
        (Command::DeviceGetRegionIoFds, 16),
        (Command::DeviceGetIrqInfo, 16),
        (Command::DeviceSetIrqs, 20),
    ] {
        let mut payload = vec![0; size as usize];
        payload[..4].copy_from_slice(&(size - 1).to_le_bytes());
        assert_eq!(decode(command, &payload).unwrap_err(), PayloadError::ArgSize(size - 1));
        // Newer clients have larger structures.
        payload.extend([0; 8]);
        payload[..4].copy_from_slice(&(size + 8).to_le_bytes());
        if command == Command::DeviceSetIrqs {
            payload[4..8].copy_from_slice(&0x21_u32.to_le_bytes());
        }
        decode(command, &payload).unwrap();
    }
}

#[test]
fn region_accesses_must_agree_with_their_counts() {
    let payload = |count: u32, data: usize| {
        let mut payload = words(&[0x18, 1, 5, count]);
        payload.extend(vec![0xab; data]);
        payload
    };
    let access = RegionAccess { offset: 0x1_0000_0018, region: 5, count: 4 };
    match decode(Command::RegionWrite, &payload(4, 4)).unwrap() {
        Request::RegionWrite(got, data) => assert_eq!((got, data), (access, &[0xab; 4][..])),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        decode(Command::RegionRead, &payload(4, 0)).unwrap(),
        Request::RegionRead(got) if got == access
    ));
    for (count, data) in [(4, 3), (4, 5), (0, 1), (1, 0)] {
        assert!(matches!(
            decode(Command::RegionWrite, &payload(count, data)).unwrap_err(),
            PayloadError::Count { .. }
        ));
    }
    assert!(matches!(
        decode(Command::RegionRead, &payload(4, 4)).unwrap_err(),
        PayloadError::Count { .. }
    ));
    for command in [Command::RegionRead, Command::RegionWrite] {
        assert_eq!(
            decode(command, &payload(3 << 30, 0)).unwrap_err(),
            PayloadError::TooMany(3 << 30)
        );
    }
}

#[test]
fn set_irqs_takes_one_action_and_one_kind_of_data() {
    for flags in 0..=0x7f_u32 {
        let mut payload = words(&[21, flags, 0, 0, 1]);
        payload.push(1);
        let one = |bits: u32| bits.count_ones() == 1;
        let good = one(flags & 7) && one(flags >> 3);
        match decode(Command::DeviceSetIrqs, &payload) {
            Ok(Request::DeviceSetIrqs(set)) => {
                assert!(good && flags < 0x40, "{flags:#x}");
                assert_eq!((set.index, set.start, set.count), (0, 0, 1));
                assert_eq!(set.data == IrqData::Bool(&[1]), flags & 2 != 0);
                assert_eq!(set.action == IrqAction::Unmask, flags & 0x10 != 0);
            }
            Err(PayloadError::Flags(bad)) => assert!(bad == flags && (!good || flags >= 0x40)),
            other => panic!("{other:?}"),
        }
    }
    let payload = words(&[20, 0x22, 0, 0, 3 << 30]);
    assert!(matches!(
        decode(Command::DeviceSetIrqs, &payload).unwrap_err(),
        PayloadError::Count { .. }
    ));
}

#[test]
fn many_writes_in_one_message() {
    let write = |offset: u8, count: u8| {
        let mut bytes = vec![0; 24];
        (bytes[0], bytes[8], bytes[12], bytes[16]) = (offset, 5, count, offset);
        bytes
    };
    let message =
        |count: u64, writes: &[Vec<u8>]| [&count.to_le_bytes()[..], &writes.concat()].concat();
    let payload = message(2, &[write(4, 4), write(8, 8)]);
    let Ok(Request::RegionWriteMulti(writes)) = decode(Command::RegionWriteMulti, &payload) else {
        panic!("not decoded");
    };
    let got: Vec<_> = writes.iter().map(|w| (w.offset, w.region, w.data.len())).collect();
    assert_eq!(got, [(4, 5, 4), (8, 5, 8)]);
    for payload in [
        message(1, &[write(4, 4), write(8, 8)]),
        message(3, &[write(4, 4), write(8, 8)]),
        message(1, &[write(4, 9)]),
        message(1, &[vec![0; 23]]),
        message(3 << 30, &[]),
        message(u64::MAX, &[write(4, 4)]),
        message(513, &vec![write(0, 4); 513]),
    ] {
        decode(Command::RegionWriteMulti, &payload).unwrap_err();
    }
}

#[test]
fn unknown_commands_are_told_apart() {
    for number in [0, 11, 12, 14, 16, 17, 18, 19, 0xffff] {
        let header = Header { command: number, ..header(Command::Version, 3) };
        let request = Request::decode(&header, &[1, 2, 3]).unwrap();
        assert!(matches!(request, Request::Unsupported(got) if got == number));
    }
}

/// What QEMU 10.1 and later sends, by its source.
const QEMU: &str = "{\"capabilities\": {\"pgsizes\": 4096, \"max_msg_fds\": 16, \
    \"max_dma_maps\": 65535, \"max_data_xfer_size\": 1048576, \"write_multiple\": true, \
    \"migration\": {\"pgsize\": 4096, \"max_bitmap_size\": 268435456}}}\0";

fn version(minor: u16, json: &str) -> Vec<u8> {
    [&[0, 0][..], &minor.to_le_bytes(), json.as_bytes()].concat()
}

#[test]
fn qemu_gets_its_version_and_a_reply_that_fits() {
    let payload = version(0, QEMU);
    let request = VersionRequest::decode(&payload).unwrap();
    assert_eq!((request.major, request.minor), (0, 0));
    let answer = request.answer(payload.len());
    assert!(answer.len() <= payload.len());
    assert_eq!(answer.last(), Some(&0));
    let answer = VersionRequest::decode(&answer).unwrap();
    assert_eq!((answer.major, answer.minor), (0, 0), "never higher than proposed");
    let capabilities = answer.capabilities.unwrap();
    assert_eq!(capabilities.write_multiple, Some(true));
    assert_eq!(capabilities.max_msg_fds, Some(AGREED_FDS as u64));
    assert_eq!(capabilities.max_dma_maps, Some(65_535));
    assert_eq!(capabilities.pgsizes, Some(4096));
}

#[test]
fn the_answer_is_a_subset_and_never_longer_than_the_proposal() {
    for json in
        ["", "{}\0", "{\"capabilities\":{}}\0", "{\"capabilities\":{\"max_msg_fds\":1}}\0", QEMU]
    {
        let payload = version(3, json);
        let request = VersionRequest::decode(&payload).unwrap();
        let bytes = request.answer(payload.len());
        assert!(bytes.len() <= payload.len(), "{json}");
        let answer = VersionRequest::decode(&bytes).unwrap();
        assert_eq!(answer.minor, VERSION.1);
        let proposed = request.capabilities.unwrap_or_default();
        let got = answer.capabilities.unwrap_or_default();
        assert!(got.max_msg_fds.is_none() || proposed.max_msg_fds.is_some());
        assert!(got.pgsizes.is_none() || proposed.pgsizes.is_some());
        assert!(got.write_multiple.is_none() || proposed.write_multiple.is_some());
    }
}

#[test]
fn malformed_versions_are_refused() {
    for json in [
        "{\"capabilities\":{}}",
        "\0",
        "nonsense\0",
        "[]\0\0",
        "{}\0{}\0",
        "{\"capabilities\":{\"max_msg_fds\":-1}}\0",
        "{\"capabilities\":{\"max_msg_fds\":1e400}}\0",
        "{\"capabilities\":{\"write_multiple\":1}}\0",
        "{\"capabilities\":7}\0",
    ] {
        assert_eq!(
            VersionRequest::decode(&version(0, json)),
            Err(PayloadError::Capabilities),
            "{json}"
        );
    }
    let deep = "[".repeat(8000) + "\0";
    VersionRequest::decode(&version(0, &deep)).unwrap_err();
    let long = " ".repeat(20_000) + "{}\0";
    VersionRequest::decode(&version(0, &long)).unwrap_err();
}

#[test]
fn replies_have_their_specified_sizes() {
    let command = header(Command::RegionRead, 16);
    let access = RegionAccess { offset: 1, region: 5, count: 3 };
    let mut out = Vec::new();
    for (reply, payload) in [
        (Reply::Empty, 0),
        (Reply::RegionRead(access, &[1, 2, 3]), 19),
        (Reply::RegionWrite(access), 16),
        (Reply::RegionWriteMulti(2), 8),
        (Reply::NoRegionIoFds { index: 5 }, 16),
        (Reply::RegionInfo(RegionInfo { flags: RegionFlags::READ, index: 5, size: 4096 }), 32),
    ] {
        encode_reply(&mut out, &command, &reply);
        let head = Header::decode(out[..16].try_into().unwrap()).unwrap();
        assert_eq!((head.id, head.command, head.flags), (7, 9, HeaderFlags::REPLY));
        assert_eq!((head.payload_len(), out.len()), (payload, 16 + payload), "{reply:?}");
    }
    encode_error(&mut out, &command, Errno::INVAL);
    let head = Header::decode(out[..].try_into().unwrap()).unwrap();
    assert_eq!(head.flags, HeaderFlags::REPLY | HeaderFlags::ERROR);
    assert_eq!(head.error, 22);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_make_the_decoder_panic(
        command in 0_u16..24,
        payload in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let header = Header { command, ..header(Command::Version, payload.len()) };
        if let Ok(Request::RegionWriteMulti(writes)) = Request::decode(&header, &payload) {
            for write in writes.iter() {
                prop_assert!(write.data.len() <= 8);
            }
        }
    }

    #[test]
    fn no_header_leads_to_a_payload_beyond_the_bound(bytes: [u8; 16]) {
        if let Ok(header) = Header::decode(&bytes) {
            prop_assert!(header.payload_len() <= MAX_PAYLOAD);
            prop_assert_eq!(header.payload_len() + 16, header.size as usize);
        }
    }

    #[test]
    fn small_numbers_in_all_fields(
        command in 1_u16..16,
        fields in proptest::collection::vec(0_u32..40, 0..40),
    ) {
        let payload = words(&fields);
        let header = Header { command, ..header(Command::Version, payload.len()) };
        let _ = Request::decode(&header, &payload);
    }
}
