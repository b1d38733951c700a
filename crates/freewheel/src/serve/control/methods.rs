//! The methods for what comes and goes:
//!
//! - `attach` (`disk` or `cdrom`: as on the command line)
//! - `detach` (`port`, `force`, `timeout_ms`)
//! - `insert` (`port`, `path`)
//! - `eject` (`port`, `force`)

use std::path::PathBuf;

use serde_json::Value;

use super::{Failure, INVALID_PARAMS, NOT_DONE, Reply, Subject, invalid};
use crate::cdrom::CdromSpec;
use crate::disk::DiskSpec;
use crate::place::Place;
use crate::serve::plug::{Refusal, Ticket};

/// How long an orderly detach waits for the guest, unless it is told.
const TIMEOUT_MS: u64 = 30_000;

pub(super) fn text<'a>(params: &'a Value, key: &str) -> Result<&'a str, Failure> {
    let value = params.get(key).and_then(Value::as_str);
    value.ok_or_else(|| invalid(format!("`{key}` is missing")))
}

fn flag(params: &Value, key: &str) -> Result<bool, Failure> {
    match params.get(key) {
        None => Ok(false),
        Some(value) => {
            value.as_bool().ok_or_else(|| invalid(format!("`{key}` is neither true nor false")))
        }
    }
}

/// The `port`, as a number or as text.
pub(super) fn place(params: &Value) -> Result<Option<Place>, Failure> {
    let port = match params.get("port") {
        None => return Ok(None),
        Some(Value::String(port)) => port.clone(),
        Some(port) => port.to_string(),
    };
    port.parse().map(Some).map_err(invalid)
}

pub(super) fn perform(
    method: &str,
    params: &Value,
    ticket: Ticket,
    subject: &mut Subject<'_>,
) -> Result<Reply, Failure> {
    if !["attach", "detach", "insert", "eject"].contains(&method) {
        let why = format!("there is no method `{method}`");
        return Err((-32601, Refusal::new(why, "see `freewheel ctl --help`")));
    }
    let not_done = |refusal| (NOT_DONE, refusal);
    if subject.ending {
        return Err(not_done(Refusal::new("the service ends", "start it again")));
    }
    let Subject { bench, plugs, .. } = subject;
    let now = bench.controller.clock.now();
    if method == "attach" {
        match (params.get("disk"), params.get("cdrom")) {
            (Some(Value::String(disk)), None) => {
                let spec: DiskSpec = disk.parse().map_err(|why| wrong("disk", why))?;
                plugs.attach_disk(spec, ticket, now).map_err(not_done)?;
            }
            (None, Some(Value::String(cdrom))) => {
                let spec: CdromSpec = cdrom.parse().map_err(|why| wrong("cdrom", why))?;
                plugs.attach_drive(spec, ticket, now).map_err(not_done)?;
            }
            _ => return Err(invalid("give one of `disk` and `cdrom`, as text")),
        }
        return Ok(Reply::Later);
    }
    let place = place(params)?.ok_or_else(|| invalid("`port` is missing"))?;
    match method {
        "detach" if flag(params, "force")? => {
            plugs.pull(place, bench).map(Reply::Now).map_err(not_done)
        }
        "detach" => {
            let timeout_ms = match params.get("timeout_ms") {
                None => TIMEOUT_MS,
                Some(value) => value
                    .as_u64()
                    .ok_or_else(|| invalid("`timeout_ms` is not a number of milliseconds"))?,
            };
            let timeout_ns = timeout_ms.saturating_mul(1_000_000);
            plugs.release(place, timeout_ns, ticket, now).map_err(not_done)?;
            Ok(Reply::Later)
        }
        "insert" => {
            let path = PathBuf::from(text(params, "path")?);
            plugs.insert(place, path, ticket, bench.controller).map_err(not_done)?;
            Ok(Reply::Later)
        }
        _ => {
            let force = flag(params, "force")?;
            plugs.eject(place, force, bench).map(Reply::Now).map_err(not_done)
        }
    }
}

/// A disk or drive is spelt wrong.
fn wrong(key: &str, why: String) -> Failure {
    let remedy = "see `freewheel serve --help` for the keys";
    (INVALID_PARAMS, Refusal::new(format!("`{key}`: {why}"), remedy))
}
