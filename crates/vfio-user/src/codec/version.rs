//! Version and capabilities (section *VFIO_USER_VERSION*).
//!
//! The server answers with the lower of the two minor versions and with those capabilities that
//! the client proposed too. QEMU announces version 0.0, refuses a higher one, and refuses a reply
//! that is longer than its request, so capabilities are left out until the reply fits.

use super::layout::RawVersion;
use super::request::PayloadError;
use super::{AGREED_FDS, MAX_DATA_XFER, MAX_DMA_MAPS, PAGE_SIZE, VERSION};
use serde::{Deserialize, Serialize};
use zerocopy::{FromBytes, IntoBytes};

/// Capabilities in JSON longer than this are refused unread; QEMU's have some 250 bytes.
const MAX_JSON: usize = 16 << 10;

/// The capabilities that this server knows; none means that the sender did not name it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// The most descriptors that the sender takes in one message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_msg_fds: Option<u64>,
    /// The largest `count` of data that the sender takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_data_xfer_size: Option<u64>,
    /// The most DMA ranges at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_dma_maps: Option<u64>,
    /// The page sizes of DMA ranges, or'ed together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pgsizes: Option<u64>,
    /// Whether REGION_WRITE_MULTI is understood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_multiple: Option<bool>,
}

/// The JSON document around the capabilities.
#[derive(Default, Serialize, Deserialize)]
struct Document {
    #[serde(default)]
    capabilities: Capabilities,
}

/// A proposal of version and capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionRequest {
    /// The major version.
    pub major: u16,
    /// The highest minor version that the client speaks.
    pub minor: u16,
    /// Its capabilities; none if the message had no JSON at all.
    pub capabilities: Option<Capabilities>,
}

impl VersionRequest {
    /// Decodes the payload.
    pub fn decode(payload: &[u8]) -> Result<Self, PayloadError> {
        let need = size_of::<RawVersion>();
        let (raw, json) = RawVersion::ref_from_prefix(payload)
            .map_err(|_| PayloadError::TooShort { got: payload.len(), need })?;
        let (major, minor) = (raw.major.get(), raw.minor.get());
        if json.is_empty() {
            return Ok(Self { major, minor, capabilities: None });
        }
        if json.len() > MAX_JSON {
            return Err(PayloadError::TooMany(json.len() as u64));
        }
        // The terminating NUL is demanded, and nothing may follow it.
        let [text @ .., 0] = json else {
            return Err(PayloadError::Capabilities);
        };
        let document: Document =
            serde_json::from_slice(text).map_err(|_| PayloadError::Capabilities)?;
        Ok(Self { major, minor, capabilities: Some(document.capabilities) })
    }

    /// The bytes of a proposal, for clients.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self.major, self.minor, self.capabilities)
    }

    /// Whether this server can answer at all: the major version must be its own.
    #[must_use]
    pub fn acceptable(&self) -> bool {
        self.major == VERSION.0
    }

    /// The payload of the answer, not longer than `room`.
    #[must_use]
    pub fn answer(&self, room: usize) -> Vec<u8> {
        let minor = self.minor.min(VERSION.1);
        let Some(proposed) = self.capabilities else {
            return encode(VERSION.0, minor, None);
        };
        let mut ours = Capabilities {
            max_msg_fds: proposed.max_msg_fds.and(Some(AGREED_FDS as u64)),
            max_data_xfer_size: proposed.max_data_xfer_size.and(Some(MAX_DATA_XFER as u64)),
            max_dma_maps: proposed.max_dma_maps.map(|theirs| theirs.min(MAX_DMA_MAPS as u64)),
            pgsizes: proposed.pgsizes.and(Some(PAGE_SIZE)),
            write_multiple: proposed.write_multiple.filter(|&theirs| theirs),
        };
        // In the order of how well the client gets on without them.
        let drop_one: [fn(&mut Capabilities); 6] = [
            |_| (),
            |caps| caps.pgsizes = None,
            |caps| caps.max_dma_maps = None,
            |caps| caps.write_multiple = None,
            |caps| caps.max_data_xfer_size = None,
            |caps| caps.max_msg_fds = None,
        ];
        for drop_one in drop_one {
            drop_one(&mut ours);
            let answer = encode(VERSION.0, minor, Some(ours));
            if answer.len() <= room {
                return answer;
            }
        }
        encode(VERSION.0, minor, None)
    }
}

fn encode(major: u16, minor: u16, capabilities: Option<Capabilities>) -> Vec<u8> {
    let raw = RawVersion { major: major.into(), minor: minor.into() };
    let mut bytes = raw.as_bytes().to_vec();
    if let Some(capabilities) = capabilities {
        // Integers and booleans in a struct: this cannot fail, and an empty text would be
        // refused by the peer rather than misread.
        bytes.extend(serde_json::to_vec(&Document { capabilities }).unwrap_or_default());
        bytes.push(0);
    }
    bytes
}
