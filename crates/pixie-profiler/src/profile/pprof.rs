//! The `profile.proto` of pprof:
//! <https://github.com/google/pprof/blob/main/proto/profile.proto>.

use super::frame::Kind;
use super::table::Table;
use super::{Measure, Profile, ProfileFrame, Values, of};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io;

impl Profile {
    /// Writes the profile as `go tool pprof` and many others read it: `profile.proto`, compressed by
    /// gzip.
    ///
    /// The measures are `samples` and `cpu` and, where threads were seen to wait, `waits` and
    /// `blocked`. Each sample has its group as its label. What was dropped for want of room, and
    /// what was [lost](Self::lost), is said in comments.
    ///
    /// # Errors
    /// Those of `writer`.
    pub fn write_pprof(&self, writer: impl io::Write) -> io::Result<()> {
        let mut compressed = GzEncoder::new(writer, Compression::default());
        io::Write::write_all(&mut compressed, &Encoder::new(self).encode())?;
        io::Write::flush(&mut compressed.finish()?)
    }
}

/// The tables of a profile, as far as they are made.
struct Encoder<'a> {
    profile: &'a Profile,
    measures: Vec<Measure>,
    strings: Table<String>,
    /// Their binary and build id, by string.
    mappings: Table<(u64, u64)>,
    /// Name and file, by string.
    functions: Table<(u64, u64)>,
    locations: Table<Location>,
    samples: Message,
}

/// A place in the code.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Location {
    mapping: u64,
    address: u64,
    /// The functions there, and the line in each, the innermost first.
    lines: Vec<(u64, u64)>,
}

impl<'a> Encoder<'a> {
    fn new(profile: &'a Profile) -> Self {
        let seen = |measure: Measure| profile.total(measure) > 0;
        let waits = seen(Measure::Waits) || seen(Measure::BlockedTime);
        let runs = seen(Measure::Samples) || !waits;
        let wanted = |measure: &Measure| match measure {
            Measure::Samples | Measure::CpuTime => runs,
            Measure::Waits | Measure::BlockedTime => waits,
        };
        let mut strings = Table::new();
        strings.number(String::new()); // The first must be empty.
        Self {
            profile,
            measures: Measure::ALL.into_iter().filter(wanted).collect(),
            strings,
            mappings: Table::new(),
            functions: Table::new(),
            locations: Table::new(),
            samples: Message::default(),
        }
    }

    fn encode(mut self) -> Vec<u8> {
        let profile = self.profile;
        for node in profile.tree.nodes().iter().filter(|node| node.own != Values::default()) {
            self.sample(profile.path(node).map(|(_, frame)| frame), node.own);
        }
        let types: Vec<_> =
            self.measures.clone().into_iter().map(|it| self.value_type(it)).collect();
        let mut out = Message::default();
        types.iter().for_each(|kind| out.message(1, kind));
        out.0.append(&mut self.samples.0);
        self.tables(&mut out);
        if let Some(span) = &profile.span {
            out.number(9, span.start);
            out.number(10, span.end - span.start);
        }
        if profile.period > 0 {
            out.message(11, &self.value_type(Measure::CpuTime));
            out.number(12, profile.period);
        }
        let dropped = profile.dropped(Measure::Samples) + profile.dropped(Measure::Waits);
        if dropped > 0 {
            out.number(13, self.strings.number(format!("{dropped} samples were dropped")));
        }
        if profile.lost > 0 {
            let lost = format!("{} samples were lost in the kernel", profile.lost);
            out.number(13, self.strings.number(lost));
        }
        let default = if self.measures.contains(&Measure::CpuTime) { "cpu" } else { "blocked" };
        out.number(14, self.strings.number(default.to_owned()));
        for text in &self.strings.list {
            out.bytes(6, text.as_bytes());
        }
        out.0
    }

    fn value_type(&mut self, measure: Measure) -> Message {
        let (kind, unit) = match measure {
            Measure::Samples => ("samples", "count"),
            Measure::CpuTime => ("cpu", "nanoseconds"),
            Measure::Waits => ("waits", "count"),
            Measure::BlockedTime => ("blocked", "nanoseconds"),
        };
        let mut message = Message::default();
        message.number(1, self.strings.number(kind.to_owned()));
        message.number(2, self.strings.number(unit.to_owned()));
        message
    }

    fn sample<'b>(&mut self, frames: impl Iterator<Item = &'b ProfileFrame>, values: Values) {
        let (mut places, mut lines, mut groups) = (Vec::new(), Vec::new(), Vec::new());
        for frame in frames {
            if frame.kind == Kind::Group {
                groups.push(frame.shown());
            }
            let file = frame.file.as_ref().map(|file| file.to_string()).unwrap_or_default();
            let (name, file) = (self.strings.number(frame.shown()), self.strings.number(file));
            if frame.kind != Kind::Unnamed {
                let function = self.functions.number((name, file)) + 1;
                lines.push((function, u64::from(frame.line.unwrap_or_default())));
            }
            // Those that were inlined share a location with what they were inlined into.
            if frame.kind != Kind::Inlined {
                let mapping = self.mapping(frame);
                let lines = std::mem::take(&mut lines);
                let place = Location { mapping, address: frame.address, lines };
                places.push(self.locations.number(place) + 1);
            }
        }
        let mut sample = Message::default();
        sample.numbers(1, &places);
        let values: Vec<u64> = self.measures.iter().map(|it| of(&values, *it)).collect();
        sample.numbers(2, &values);
        groups.reverse();
        let mut label = Message::default();
        label.number(1, self.strings.number("group".to_owned()));
        label.number(2, self.strings.number(groups.join("/")));
        sample.message(3, &label);
        self.samples.message(2, &sample);
    }

    /// The number of the binary that a frame is of, counted from 1; 0 where that is not known.
    fn mapping(&mut self, frame: &ProfileFrame) -> u64 {
        let Some(binary) = &frame.binary else { return 0 };
        let binary = self.strings.number(binary.to_string());
        let build = frame.build_id.as_ref().map(|build| build.to_string()).unwrap_or_default();
        let build = self.strings.number(build);
        self.mappings.number((binary, build)) + 1
    }

    fn tables(&self, out: &mut Message) {
        for (number, (binary, build_id)) in (1..).zip(&self.mappings.list) {
            let mut message = Message::default();
            message.number(1, number);
            message.number(5, *binary);
            message.number(6, *build_id);
            message.number(7, 1); // Its functions are named.
            out.message(3, &message);
        }
        for (number, location) in (1..).zip(&self.locations.list) {
            let mut message = Message::default();
            message.number(1, number);
            message.number(2, location.mapping);
            message.number(3, location.address);
            for (function, line) in &location.lines {
                let mut of_line = Message::default();
                of_line.number(1, *function);
                of_line.number(2, *line);
                message.message(4, &of_line);
            }
            out.message(4, &message);
        }
        for (number, (name, file)) in (1..).zip(&self.functions.list) {
            let mut message = Message::default();
            message.number(1, number);
            message.number(2, *name);
            message.number(3, *name);
            message.number(4, *file);
            out.message(5, &message);
        }
    }
}

/// A message of protocol buffers as it is written:
/// <https://protobuf.dev/programming-guides/encoding/>.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A number; 0 is what is there when nothing is.
    fn number(&mut self, field: u64, value: u64) {
        if value != 0 {
            self.varint(field << 3);
            self.varint(value);
        }
    }

    fn numbers(&mut self, field: u64, values: &[u64]) {
        let mut packed = Self::default();
        values.iter().for_each(|value| packed.varint(*value));
        self.message(field, &packed);
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, field: u64, message: &Self) {
        self.bytes(field, &message.0);
    }
}
