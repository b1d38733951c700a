//! `freewheel ctl`: asks a running server over its control socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::{CtlArgs, CtlVerb, FaultVerb};
use crate::exit::{self, UserError};

/// Longer than any answer takes: the server never waits for storage.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the command.
pub(crate) fn run(args: &CtlArgs) -> anyhow::Result<ExitCode> {
    let (method, params) = match &args.verb {
        CtlVerb::Status => ("status", json!({})),
        CtlVerb::Shutdown => ("shutdown", json!({})),
        CtlVerb::Fault(FaultVerb::Add { port, spec }) => {
            ("fault.add", json!({ "port": port.to_string(), "spec": spec }))
        }
        CtlVerb::Fault(FaultVerb::Clear) => ("fault.clear", json!({})),
        CtlVerb::Fault(FaultVerb::Release) => ("fault.release", json!({})),
    };
    let reply = call(args, method, &params).map_err(|error| {
        UserError::new(
            exit::SOCKET,
            format!("control socket {}: {error}", args.control.display()),
            "start `freewheel serve` with --control and the same path",
        )
    })?;
    if let Some(error) = reply.get("error") {
        let message = error.get("message").and_then(Value::as_str).unwrap_or("no reason given");
        return Err(UserError::new(
            exit::FAILURE,
            format!("{method}: {message}"),
            "see `freewheel ctl --help`",
        )
        .into());
    }
    let result = reply.get("result").unwrap_or(&Value::Null);
    println!("{}", serde_json::to_string_pretty(result)?);
    Ok(ExitCode::SUCCESS)
}

fn call(args: &CtlArgs, method: &str, params: &Value) -> std::io::Result<Value> {
    let mut socket = UnixStream::connect(&args.control)?;
    socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    socket.write_all(format!("{request}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(socket).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}
