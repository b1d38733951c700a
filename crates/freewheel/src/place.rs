//! Where a disk hangs: on a port of the controller, or on a port multiplier that hangs there.

use std::fmt;
use std::str::FromStr;

use freewheel_ahci::{Attachment, Hba, PortMultiplier, PortStatus, pmp};
use freewheel_ata::Device;
use freewheel_block::EngineStatus;

/// Ports that a controller can have.
pub(crate) const PORTS_MAX: usize = 32;

/// `N`: port N of the controller. `N.M`: device port M of the port multiplier on port N.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) port: usize,
    pub(crate) pm_port: Option<u8>,
}

impl Place {
    /// A port of the controller itself.
    pub(crate) fn on_port(port: usize) -> Self {
        Self { port, pm_port: None }
    }

    /// Whether only one of the two can be had.
    pub(crate) fn excludes(self, other: Self) -> bool {
        let mixed = self.pm_port.is_none() || other.pm_port.is_none();
        self.port == other.port && (mixed || self.pm_port == other.pm_port)
    }

    /// The device there.
    pub(crate) fn device(self, hba: &mut Hba) -> Option<&mut dyn Device> {
        match self.pm_port {
            Some(pm_port) => hba.device_behind_mut(self.port, pm_port),
            None => hba.device_mut(self.port),
        }
    }

    /// The engine of the disk there.
    pub(crate) fn engine(self, ports: &[PortStatus]) -> Option<&EngineStatus> {
        let port = ports.get(self.port)?;
        match self.pm_port {
            Some(pm_port) => port.behind.get(usize::from(pm_port))?.engine.as_ref(),
            None => port.engine.as_ref(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pm_port {
            Some(pm_port) => write!(f, "{}.{pm_port}", self.port),
            None => write!(f, "{}", self.port),
        }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || {
            format!(
                "port is `{text}`; use N from 0 to {}, or N.M with M from 0 to {} for a disk behind \
                 a port multiplier",
                PORTS_MAX - 1,
                pmp::DEVICE_PORTS_MAX - 1,
            )
        };
        let below = |text: &str, limit: usize| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<usize>().ok().filter(|number| digits && *number < limit).ok_or_else(error)
        };
        let Some((port, pm_port)) = text.split_once('.') else {
            return Ok(Self::on_port(below(text, PORTS_MAX)?));
        };
        let pm_port = below(pm_port, pmp::DEVICE_PORTS_MAX)? as u8;
        Ok(Self { port: below(port, PORTS_MAX)?, pm_port: Some(pm_port) })
    }
}

/// What hangs on each of `count` ports: devices, and port multipliers with as many device ports as
/// their devices need.
pub(crate) fn attachments(
    count: usize,
    devices: Vec<(Place, Box<dyn Device>)>,
) -> Vec<Option<Attachment>> {
    let mut direct: Vec<Option<Box<dyn Device>>> = (0..count).map(|_| None).collect();
    let mut behind: Vec<Vec<Option<Box<dyn Device>>>> = (0..count).map(|_| Vec::new()).collect();
    for (place, device) in devices {
        let Some(pm_port) = place.pm_port else {
            direct[place.port] = Some(device);
            continue;
        };
        let ports = &mut behind[place.port];
        let needed = usize::from(pm_port) + 1;
        ports.resize_with(needed.max(ports.len()), || None);
        ports[usize::from(pm_port)] = Some(device);
    }
    let both = direct.into_iter().zip(behind);
    both.map(|(direct, behind)| match direct {
        None if behind.is_empty() => None,
        None => Some(Attachment::from(PortMultiplier::new(behind))),
        Some(device) => Some(Attachment::from(device)),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_and_written() {
        for text in ["0", "31", "0.0", "31.14"] {
            assert_eq!(text.parse::<Place>().expect(text).to_string(), text);
        }
        for text in ["", "32", "-1", "+1", "1.", ".1", "1.15", "1.2.3", "a", "1.+2", "1 "] {
            let message = text.parse::<Place>().expect_err(text);
            assert!(message.contains("N.M"), "{message}");
        }
    }

    #[test]
    fn a_port_takes_a_disk_or_a_port_multiplier() {
        let place = |text: &str| text.parse::<Place>().expect(text);
        assert!(place("1").excludes(place("1")));
        assert!(place("1").excludes(place("1.3")));
        assert!(place("1.3").excludes(place("1.3")));
        assert!(!place("1.3").excludes(place("1.4")));
        assert!(!place("1").excludes(place("2.1")));
    }
}
