//! Clients: what they saw of an exchange, to hold records against.

use crate::process;
use crate::programs::command;
use crate::runner::Skip;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What curl says of a transfer.
#[derive(Debug, Default)]
pub(crate) struct Curl {
    pub(crate) pid: u32,
    pub(crate) local_port: u16,
    pub(crate) status: u16,
    /// Bytes of the body.
    pub(crate) downloaded: u64,
    /// Bytes of the request, head and body.
    pub(crate) sent: u64,
    /// Bytes of the response's head.
    pub(crate) head: u64,
    /// From the connection's opening to the response's last byte.
    pub(crate) took: Duration,
}

/// Transfers one URL into a file, with these arguments beside.
pub(crate) fn curl(url: &str, into: &Path, arguments: &[&str]) -> Result<Curl, Skip> {
    const FACTS: &str = "%{local_port} %{http_code} %{size_download} %{size_request} \
                         %{size_upload} %{size_header} %{time_connect} %{time_total}";
    let mut command = command("curl")?;
    command.args(["--silent", "--show-error", "--noproxy", "*", "--write-out", FACTS]);
    command.arg("--output").arg(into).args(arguments).arg(url);
    let (pid, output) = process::run(&mut command);
    let words: Vec<f64> = output.split(' ').map(|word| word.parse().unwrap()).collect();
    let [port, status, downloaded, request, uploaded, head, before, total] = words[..] else {
        panic!("curl said {output:?}");
    };
    Ok(Curl {
        pid,
        local_port: port as u16,
        status: status as u16,
        downloaded: downloaded as u64,
        sent: (request + uploaded) as u64,
        head: head as u64,
        took: Duration::from_secs_f64(total - before),
    })
}

/// A Python script, with these arguments.
pub(crate) fn python(script: &str, arguments: &[&str]) -> Result<Command, Skip> {
    let mut python = command("python3")?;
    python.arg("-c").arg(script).args(arguments);
    Ok(python)
}
