//! The ping protocol: a client writes lines `PING text`, and the server answers each in turn with
//! `PONG text` or, when it will not, with `OOPS reason`.

use pixie::RecordKind;
use pixie::id::Direction;
use pixie::protocols::parser::{Context, Output, Parser, Protocol, Segment, Verdict};
use pixie::record::{Cause, Custom, Timing};
use pixie::time::MonotonicTime;
use std::collections::VecDeque;

/// Recognises the protocol, and makes parsers of it.
pub(crate) struct Ping;

impl Protocol for Ping {
    fn name(&self) -> &'static str {
        "ping"
    }

    fn emits(&self) -> &[RecordKind] {
        &[RecordKind::Custom]
    }

    fn probe(&self, bytes: &[u8]) -> Verdict {
        let words: [(&[u8], Verdict); 3] = [
            (b"PING ", Verdict::Yes),
            (b"PONG ", Verdict::Reversed),
            (b"OOPS ", Verdict::Reversed),
        ];
        match words.iter().find(|(word, _)| bytes.starts_with(word)) {
            Some((_, verdict)) => *verdict,
            None if words.iter().any(|(word, _)| word.starts_with(bytes)) => Verdict::NeedMore,
            None => Verdict::No,
        }
    }

    fn parser(&self, context: Context) -> Box<dyn Parser> {
        Box::new(PingParser {
            context,
            lines: Default::default(),
            pings: VecDeque::new(),
            output: VecDeque::new(),
        })
    }
}

/// Pairs the pings and pongs of one connection.
struct PingParser {
    context: Context,
    /// By [`Direction::index`].
    lines: [Lines; 2],
    /// Pings that have not been answered yet.
    pings: VecDeque<Line>,
    output: VecDeque<Output>,
}

struct Line {
    text: String,
    start: MonotonicTime,
    end: MonotonicTime,
    bytes: u64,
}

impl Parser for PingParser {
    fn feed(&mut self, segment: Segment<'_>) {
        let direction = segment.direction;
        let limit = self.context.limits.buffer;
        for byte in segment.bytes {
            let lines = &mut self.lines[direction.index()];
            if let Some(line) = lines.push(*byte, segment.time) {
                self.line(direction, line);
            } else if lines.partial.len() > limit {
                self.give_up(direction, Cause::MemoryLimit);
            }
        }
    }

    fn gap(&mut self, direction: Direction, _: MonotonicTime, _: u64) {
        self.give_up(direction, Cause::Unobserved);
        // Which answer belongs to which ping cannot be told any more.
        self.pings.clear();
    }

    fn poll(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    fn finish(&mut self, direction: Direction, _: MonotonicTime) {
        self.give_up(direction, Cause::Unobserved);
        if Some(direction) != self.context.requests {
            // No more answers: what is left has none.
            for ping in std::mem::take(&mut self.pings) {
                self.emit(Some(&ping), None);
            }
        }
    }

    fn memory(&self) -> usize {
        let text = |line: &Line| size_of::<Line>() + line.text.len();
        self.lines.iter().map(|lines| lines.partial.capacity()).sum::<usize>()
            + self.pings.iter().map(text).sum::<usize>()
    }
}

impl PingParser {
    fn line(&mut self, direction: Direction, line: Line) {
        if line.text.starts_with("PING ") {
            self.context.requests = Some(direction);
            if self.pings.len() < self.context.limits.pending {
                self.pings.push_back(line);
            } else {
                self.skip(direction, line.bytes, Cause::MemoryLimit);
            }
        } else if line.text.starts_with("PONG ") || line.text.starts_with("OOPS ") {
            let ping = self.pings.pop_front();
            self.emit(ping.as_ref(), Some(&line));
        } else {
            self.skip(direction, line.bytes, Cause::Malformed);
        }
    }

    fn emit(&mut self, ping: Option<&Line>, answer: Option<&Line>) {
        let timing = Timing {
            request_start: ping.map(|ping| ping.start),
            response_start: answer.map(|answer| answer.start),
            response_end: answer.map(|answer| answer.end),
        };
        let role = self.context.requests.map(Context::role);
        let mut traffic = self.context.traffic.clone().timed(role, timing);
        traffic.request_bytes = ping.map_or(0, |ping| ping.bytes);
        traffic.response_bytes = answer.map_or(0, |answer| answer.bytes);

        let mut record = Custom::new(traffic, "ping");
        if let Some(ping) = ping {
            record.request.push(("text".into(), ping.text.trim_start_matches("PING ").into()));
        }
        if let Some(answer) = answer {
            match answer.text.strip_prefix("OOPS ") {
                Some(reason) => record.error = Some(reason.to_owned()),
                None => {
                    let text = answer.text.trim_start_matches("PONG ");
                    record.response.push(("text".into(), text.into()));
                }
            }
        }
        self.output.push_back(Output::Record(record.into()));
    }

    /// Gives up on the line that is under way; the next one is good again.
    fn give_up(&mut self, direction: Direction, cause: Cause) {
        let lines = &mut self.lines[direction.index()];
        let given_up = lines.partial.len() as u64;
        lines.partial.clear();
        if given_up > 0 {
            self.skip(direction, given_up, cause);
        }
    }

    fn skip(&mut self, direction: Direction, bytes: u64, cause: Cause) {
        self.output.push_back(Output::Skipped { direction, bytes, cause });
    }
}

/// Cuts one direction into lines.
#[derive(Default)]
struct Lines {
    partial: Vec<u8>,
    start: MonotonicTime,
}

impl Lines {
    /// The line that `byte` ends, if it does.
    fn push(&mut self, byte: u8, time: MonotonicTime) -> Option<Line> {
        if self.partial.is_empty() {
            self.start = time;
        }
        if byte != b'\n' {
            self.partial.push(byte);
            return None;
        }
        let line = std::mem::take(&mut self.partial);
        Some(Line {
            text: String::from_utf8_lossy(&line).into_owned(),
            start: self.start,
            end: time,
            bytes: line.len() as u64 + 1,
        })
    }
}
