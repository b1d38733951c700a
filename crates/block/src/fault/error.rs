//! `error=ERRNO`: answers in the storage's place. The request is not carried out, not even partly.

use alloc::vec::Vec;

use super::rules::Planned;
use crate::{Done, IoError};

/// What has failed and not been taken yet.
#[derive(Default)]
pub(super) struct Error {
    failed: Vec<Done>,
}

impl Error {
    /// Fails the request, or gives it back to go on.
    pub(super) fn down(&mut self, request: Planned) -> Option<Planned> {
        match request.plan.errno {
            Some(errno) => {
                self.failed.push(request.io.done(Err(IoError::from_errno(errno))));
                None
            }
            None => Some(request),
        }
    }

    /// Appends what has failed since.
    pub(super) fn poll(&mut self, done: &mut Vec<Done>) {
        done.append(&mut self.failed);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.failed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::Plan;
    use super::*;
    use crate::{ByteRange, Io, IoId, OpKind};

    fn request(slot: u16, plan: Plan) -> Planned {
        let io = Io {
            id: IoId { slot, generation: 1 },
            kind: OpKind::Write,
            range: ByteRange::new(0, 512),
            fua: false,
            buf: None,
            buf_offset_bytes: 0,
        };
        Planned { io, plan }
    }

    #[test]
    fn a_failed_request_comes_back_with_its_error_and_never_goes_down() {
        let mut error = Error::default();
        let full = Plan { errno: Some(28), ..Plan::default() };
        assert!(error.down(request(0, full)).is_none());
        assert!(error.down(request(1, Plan::default())).is_some());
        assert!(!error.is_empty());
        let mut done = Vec::new();
        error.poll(&mut done);
        assert!(error.is_empty());
        assert_eq!(done.len(), 1);
        assert_eq!((done[0].io.id.slot, done[0].result), (0, Err(IoError::NoSpace)));
    }
}
