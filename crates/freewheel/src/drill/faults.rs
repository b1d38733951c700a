//! Which faults of `--disk` the drill can take, and why not the others.
//!
//! They are in a layer of their own, below the one by which the drill makes its disk hang: so they stay
//! in place from the first command to the last, and an orphan that is released meets them as any request
//! does. What makes storage slow or its reads short changes nothing that a clause promises: any
//! verdict is as true with it as without. What makes a command fail, its data wrong or half there, or
//! its end never come would be counted against clauses that were kept, so it is refused.

use freewheel_block::OpKind;
use freewheel_block::fault::{FaultAction, FaultSpec};

use crate::exit::{self, UserError};

/// The longest delay: of a command that becomes many requests, one after the other, all together stay
/// within the drill's patience (10 s).
const LONGEST_DELAY_NS: u64 = 20_000_000;

/// Refuses faults with which the verdicts would not be true.
pub(super) fn admit(faults: &[FaultSpec]) -> Result<(), UserError> {
    faults.iter().try_for_each(|fault| match refusal(fault) {
        None => Ok(()),
        Some((name, reason, remedy)) => Err(UserError::new(
            exit::USAGE,
            format!("the drill takes no `{name}`: {reason}"),
            remedy,
        )),
    })
}

fn refusal(fault: &FaultSpec) -> Option<(&'static str, &'static str, &'static str)> {
    const LEAVE_OUT: &str =
        "leave it out of --disk; `freewheel serve` and `cargo xtask sim` have all faults";
    let (matching, action) = match fault {
        FaultSpec::Op { matching, action } => (matching, *action),
        FaultSpec::Link(_) => {
            let reason = "a fault of the link happens once, and ends commands or resets that the drill \
                          holds against the controller";
            return Some(("link", reason, LEAVE_OUT));
        }
    };
    match action {
        FaultAction::Short if matching.kind == Some(OpKind::Read) => None,
        FaultAction::Short => Some((
            "short",
            "a write that is cancelled after its first half is half there, which is right, and the \
             drill could not tell it from what a broken fence leaves",
            "use read:short",
        )),
        FaultAction::Delay(ns) if ns <= LONGEST_DELAY_NS => None,
        FaultAction::Delay(_) => Some((
            "delay",
            "it is so long that a command of many requests may outlast the drill's patience",
            "use a delay of at most 20ms",
        )),
        FaultAction::Hang => Some((
            "hang",
            "it would never end, and the drill waits for all to end; it makes the disk hang by itself",
            "leave it out of --disk",
        )),
        FaultAction::Error(_) => Some((
            "error",
            "a command that the storage fails ends with an error, which is right, and the drill would \
             hold it against the controller",
            LEAVE_OUT,
        )),
        FaultAction::Corrupt => Some((
            "corrupt",
            "damaged data cannot be told from data that a broken fence let through",
            LEAVE_OUT,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Result<(), UserError> {
        admit(&[text.parse().expect("a fault")])
    }

    #[test]
    fn what_is_slow_or_short_is_taken_and_the_rest_is_refused_by_name() {
        for good in ["any:delay=20ms", "write@8+8#3/0.5:delay=1us", "read:short", "read/0.5:short"]
        {
            assert!(answer(good).is_ok(), "{good}");
        }
        for (bad, name, reason) in [
            ("any:delay=21ms", "`delay`", "patience"),
            ("write#1:hang", "`hang`", "never end"),
            ("read/0.1:error=EIO", "`error`", "which is right"),
            ("any:short", "`short`", "half there"),
            ("write#1:short", "`short`", "half there"),
            ("read:corrupt", "`corrupt`", "broken fence"),
            ("link:crc", "`link`", "happens once"),
            ("link:drop=1s", "`link`", "happens once"),
        ] {
            let error = answer(bad).expect_err(bad);
            assert!(error.cause.contains(name) && error.cause.contains(reason), "{}", error.cause);
            assert_eq!(error.code, exit::USAGE);
        }
    }
}
