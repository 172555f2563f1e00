use crate::tls::TlsFile;
use pixie_probes::Attachment;
use std::fmt;

/// What a session came to: what was attached, what was not, and why.
///
/// Its `Display` form is a few lines for people.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// What the capture of socket traffic came to; `None` when it is not under way.
    pub traffic: Option<pixie_probes::Report>,
    /// What the sampling of call stacks came to; `None` when it is not under way.
    pub profiler: Option<pixie_profiler::Report>,
    /// The names of the protocols that are parsed.
    pub protocols: Vec<&'static str>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.lines().join("\n"))
    }
}

impl Report {
    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(traffic) = &self.traffic {
            let pixie_probes::Report { kernel, backend, .. } = traffic;
            lines.push(format!("socket traffic: backend {backend} on Linux {kernel}"));
            lines.extend(traffic.attachments.iter().map(attachment));
            lines.extend(traffic.tls.iter().flat_map(tls_file));
            lines.extend(traffic.notes.iter().map(|note| format!("  note: {note}")));
            lines.push(format!("protocols: {}", self.protocols.join(", ")));
        }
        if let Some(profiler) = &self.profiler {
            lines.push(format!("call stacks: on Linux {}", profiler.kernel));
            lines.extend(profiler.attachments.iter().map(attachment));
            lines.extend(profiler.notes.iter().map(|note| format!("  note: {note}")));
        }
        lines.extend(self.notes.iter().map(|note| format!("note: {note}")));
        lines
    }
}

fn tls_file(file: &TlsFile) -> Vec<String> {
    let TlsFile { path, library, version, attached, refused, notes, processes, .. } = file;
    let library = library.map_or("TLS", |library| library.as_str());
    let version = version.as_ref().map_or(String::new(), |version| format!(" {version}"));
    let head = format!("{library}{version} in {}, {processes} processes", path.display());
    let mut lines = Vec::new();
    if attached.is_empty() {
        lines.push(format!("  - {head}: nothing is probed"));
    } else {
        lines.push(format!("  + {head}: {}", attached.join(", ")));
    }
    lines.extend(refused.iter().map(|(symbol, reason)| format!("    - {symbol}: {reason}")));
    lines.extend(notes.iter().map(|note| format!("    note: {note}")));
    lines
}

fn attachment(Attachment { target, purpose, refused, .. }: &Attachment) -> String {
    match refused {
        None => format!("  + {target}: {purpose}"),
        Some(reason) => format!("  - {target}: {purpose}: {reason}"),
    }
}
