//! nginx, with directives of a test's own.

use crate::programs::find;
use crate::runner::{Setup, Skip};
use crate::servers::Server;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Starts nginx on a port that these directives of `http` name. What it needs beside them, and where
/// what it writes goes, is said here.
pub(crate) fn start(
    setup: &Setup,
    folder: TempDir,
    port: u16,
    workers: u8,
    http: &str,
) -> Result<Server, Skip> {
    let mut command = Command::new(find("nginx")?);
    let file = folder.path().join("nginx.conf");
    fs::write(&file, configuration(folder.path(), workers, http)).expect("a configuration file");
    command.arg("-c").arg(&file).arg("-p").arg(folder.path());
    Ok(Server::start(setup, folder, port, command))
}

/// A configuration with these directives of `http`. So many processes serve; where there are to be
/// none, the first one does. It writes into this folder alone, as nginx sees it.
pub(crate) fn configuration(folder: &Path, workers: u8, http: &str) -> String {
    let path = folder.display();
    let processes = match workers {
        0 => "master_process off".to_owned(),
        _ => format!("worker_processes {workers}"),
    };
    format!(
        r"
        daemon off; user root; {processes}; pid {path}/pid; error_log {path}/errors;
        events {{ worker_connections 8192; }}
        http {{
            log_format facts '$pid $remote_port $request_uri $status $request_length $bytes_sent';
            access_log {path}/access.log facts;
            client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;
            fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi;
            scgi_temp_path {path}/scgi;
            keepalive_requests 1000000; client_max_body_size 1g;
            {http}
        }}"
    )
}

/// Directives of a `server` that serves this folder over TLS alone, with the certificate that lies in
/// it, by HTTP/2 to those who ask for it.
pub(crate) fn over_tls(folder: &Path, port: u16) -> String {
    let path = folder.display();
    format!(
        "listen 127.0.0.1:{port} ssl http2; root {path}/www;
         ssl_certificate {path}/cert.pem; ssl_certificate_key {path}/key.pem;
         ssl_protocols TLSv1.2 TLSv1.3;"
    )
}
