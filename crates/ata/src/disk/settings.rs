//! What the host can change, and what each reset does to it.

use freewheel_block::Nanos;

use super::config::{DiskConfig, Shape};

/// The CHS translation in use. Obsolete since ATA-6, yet firmware still computes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Cylinders, at most 65,535.
    pub(crate) cylinders: u16,
    /// Heads, 1 to 16.
    pub(crate) heads: u8,
    /// Sectors in a track, 1 to 255.
    pub(crate) sectors_per_track: u8,
}

impl Geometry {
    /// What a disk of `sectors` has after power-on, as ATA-5's annex on capacity lays down.
    pub(crate) fn of_disk(sectors: u64) -> Self {
        let cylinders = (sectors / (16 * 63)).clamp(1, 16_383) as u16;
        Self { cylinders, heads: 16, sectors_per_track: 63 }
    }

    /// What INITIALIZE DEVICE PARAMETERS asks for; `None` if it makes no sense.
    pub(crate) fn requested(sectors: u64, heads: u8, sectors_per_track: u8) -> Option<Self> {
        let track = u64::from(heads) * u64::from(sectors_per_track);
        let cylinders = sectors.checked_div(track)?.clamp(1, 65_535) as u16;
        Some(Self { cylinders, heads, sectors_per_track })
    }

    /// How many sectors it reaches (words 57 and 58).
    pub(crate) fn capacity(self) -> u32 {
        u32::from(self.cylinders) * u32::from(self.heads) * u32::from(self.sectors_per_track)
    }
}

/// Settings of SET FEATURES and its like. All of them are kept across COMRESET as long as software
/// settings preservation (SATA 3.x) is enabled, which it is until the host disables it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The volatile write cache.
    pub(crate) write_cache: bool,
    /// Read look-ahead. A setting with a state but, here, without an effect.
    pub(crate) look_ahead: bool,
    /// The DMA mode as SET FEATURES codes it: 20h + n (Multiword) or 40h + n (Ultra).
    pub(crate) dma_mode: u8,
    /// Sectors of a DRQ block of the MULTIPLE commands; 0 if those are disabled.
    pub(crate) multiple: u8,
    /// CHS translation.
    pub(crate) geometry: Geometry,
    /// Nanoseconds without access until the disk counts as being in Standby.
    pub(crate) standby_after_ns: Option<u64>,
    /// The level of Advanced Power Management, if it is enabled.
    pub(crate) apm: Option<u8>,
    /// Software settings preservation.
    pub(crate) preserve: bool,
    /// Device sleep: the link may be put to rest with the device's transceiver off. Whether it is,
    /// the controller decides.
    pub(crate) device_sleep: bool,
    /// A soft reset reverts to power-on defaults (SET FEATURES CCh).
    pub(crate) revert: bool,
}

impl Settings {
    /// As after power-on.
    pub(crate) fn power_on(config: &DiskConfig, shape: &Shape) -> Self {
        Self {
            write_cache: config.write_cache,
            look_ahead: true,
            dma_mode: 0x46,
            multiple: shape.multiple_max,
            geometry: Geometry::of_disk(shape.sectors),
            standby_after_ns: None,
            apm: None,
            preserve: true,
            device_sleep: false,
            revert: false,
        }
    }
}

/// Power management state (ACS-4, Power Management feature set: PM0 to PM3, and what the Extended
/// Power Conditions feature set tells apart within them), in the order of the power that it saves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PowerMode {
    /// PM0.
    Active,
    /// PM1.
    Idle,
    /// PM1: Idle_a.
    IdleA,
    /// PM1: Idle_b.
    IdleB,
    /// PM1: Idle_c.
    IdleC,
    /// PM2: Standby_y.
    StandbyY,
    /// PM2, which is Standby_z.
    Standby,
    /// PM3: deaf to everything but a reset.
    Sleep,
}

/// The power state and what the Standby timer counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Power {
    mode: PowerMode,
    last_access: Nanos,
}

impl Power {
    /// Awake, with an access at `now`.
    pub(crate) fn active(now: Nanos) -> Self {
        Self { mode: PowerMode::Active, last_access: now }
    }

    /// Into `mode`, by command.
    pub(crate) fn enter(&mut self, mode: PowerMode, now: Nanos) {
        *self = Self { mode, last_access: now };
    }

    /// Timers count from `now`.
    pub(crate) fn touch(&mut self, now: Nanos) {
        self.last_access = now;
    }

    /// What timers have counted, in nanoseconds.
    pub(crate) fn idle_ns(self, now: Nanos) -> u64 {
        now.since(self.last_access)
    }

    /// The state at `now`. The Standby timer needs no event of its own: nothing happens when it
    /// expires but that this answer changes.
    pub(crate) fn mode(self, standby_after_ns: Option<u64>, now: Nanos) -> PowerMode {
        let expired = standby_after_ns.is_some_and(|limit| now.since(self.last_access) >= limit);
        match self.mode {
            mode if expired && mode < PowerMode::Standby => PowerMode::Standby,
            mode => mode,
        }
    }

    /// A reset wakes a sleeping disk into Standby; other states remain (ACS-4, Power Management
    /// feature set).
    pub(crate) fn reset(&mut self) {
        if self.mode == PowerMode::Sleep {
            self.mode = PowerMode::Standby;
        }
    }
}
