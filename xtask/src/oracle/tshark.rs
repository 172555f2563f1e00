//! What tshark says of a packet capture.

use crate::command::{command, output};
use anyhow::Result;
use std::collections::BTreeSet;
use std::path::Path;

/// Between the values of a field that a packet has more than once.
const AGGREGATOR: char = '\x1f';

/// Every packet is asked for these.
const PORTS: [&str; 4] = ["tcp.srcport", "udp.srcport", "tcp.dstport", "udp.dstport"];

/// What a packet says: the values of each field.
pub(super) struct Row<'a> {
    ports: [&'a str; 4],
    fields: &'static [&'static str],
    values: Vec<&'a str>,
    servers: &'a [u16],
}

impl<'a> Row<'a> {
    /// A line of [`rows`]. Our records say that the protocol is served at these ports.
    pub(super) fn new(line: &'a str, fields: &'static [&'static str], servers: &'a [u16]) -> Self {
        let mut values = line.split('\t');
        let ports = PORTS.map(|_| values.next().unwrap_or_default());
        Self { ports, fields, values: values.collect(), servers }
    }

    /// Every value of a field, empty ones too, so that they can be paired with those of another.
    pub(super) fn every(&self, field: &str) -> Vec<&'a str> {
        let place = self.fields.iter().position(|known| *known == field);
        let values = place.and_then(|place| self.values.get(place)).copied().unwrap_or_default();
        if values.is_empty() { Vec::new() } else { values.split(AGGREGATOR).collect() }
    }

    /// Every value of a field that is not empty.
    pub(super) fn all(&self, field: &str) -> Vec<&'a str> {
        self.every(field).into_iter().filter(|value| !value.is_empty()).collect()
    }

    /// The first value of a field; `-` when there is none.
    pub(super) fn one(&self, field: &str) -> &'a str {
        self.all(field).first().copied().unwrap_or("-")
    }

    /// The port that the packet comes from.
    pub(super) fn from(&self) -> &'a str {
        let [tcp, udp, ..] = self.ports;
        if tcp.is_empty() { udp } else { tcp }
    }

    /// The port that it goes to.
    pub(super) fn to(&self) -> &'a str {
        let [.., tcp, udp] = self.ports;
        if tcp.is_empty() { udp } else { tcp }
    }

    /// Both, the lower one first: the same for both directions.
    pub(super) fn ends(&self) -> String {
        let ports = [self.from(), self.to()].map(|port| port.parse::<u16>().unwrap_or_default());
        format!("{}-{}", ports[0].min(ports[1]), ports[0].max(ports[1]))
    }

    /// Whether it goes to the server.
    pub(super) fn is_asking(&self) -> bool {
        self.to().parse().is_ok_and(|port| self.servers.contains(&port))
    }
}

/// The values of these fields, a line for each packet that passes the filter. `decode` are rules like
/// `tcp.port==5000,pgsql`.
pub(super) fn rows(
    capture: &Path,
    decode: &[String],
    filter: &str,
    fields: &[&str],
) -> Result<String> {
    let mut tshark = command("tshark", &["-n", "-T", "fields", "-E", "occurrence=a"]);
    tshark.args(["-E", &format!("aggregator={AGGREGATOR}")]);
    for rule in decode {
        tshark.args(["-d", rule]);
    }
    for field in PORTS.iter().chain(fields) {
        tshark.args(["-e", field]);
    }
    output(tshark.args(["-Y", filter, "-r"]).arg(capture))
}

/// The ends of connections of which some packets were not captured in full.
pub(super) fn cut_short(capture: &Path) -> Result<BTreeSet<String>> {
    let rows = rows(capture, &[], "frame.cap_len < frame.len", &[])?;
    Ok(rows.lines().map(|line| Row::new(line, &[], &[]).ends()).collect())
}
