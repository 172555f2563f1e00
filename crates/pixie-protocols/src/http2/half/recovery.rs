//! Bytes that are missing or make no sense: stepping over them, and finding the next frame.

use super::{Half, Padding, State};
use crate::http2::detour::Detour;
use crate::http2::frame::Frame;
use crate::http2::search::Outcome;
use crate::http2::streams::Streams;
use pixie_core::record::Cause;
use pixie_core::time::MonotonicTime;

/// Bytes that were passed over are reported after so many.
const REPORT_EVERY: u64 = 64 << 10;

impl Half {
    pub(super) fn search<'a>(
        &mut self,
        time: MonotonicTime,
        bytes: &'a [u8],
        streams: &mut Streams,
    ) -> &'a [u8] {
        let kind = self.kind;
        let State::Search(search) = &mut self.state else { return bytes };
        match search.push(time, bytes, |frame| streams.judge(kind, frame)) {
            Outcome::Start { passed, kept, marks, rest } => {
                self.pass_over(passed, streams);
                self.report_skipped(streams);
                let next = Frame::read(if kept.is_empty() { rest } else { &kept });
                self.resume(next, streams);
                self.state = State::Frame;
                self.feed_kept(&kept, &marks, streams);
                rest
            }
            Outcome::Nothing { passed } => {
                self.pass_over(passed, streams);
                &[]
            }
        }
    }

    /// The next frame has been found: now it can be told what was lost.
    fn resume(&mut self, next: Option<Frame>, streams: &mut Streams) {
        // A stream that goes on with this frame has not ended.
        if !next.is_some_and(|next| streams.goes_on(self.kind, next.stream)) {
            streams.passed(self.kind, self.passed, self.last_hole);
        }
        let explained = self.detour.and_then(|detour| {
            let content = detour.content(self.passed)?;
            Some((detour.stream, content))
        });
        if let Some((stream, content)) = explained {
            self.detour = None;
            if streams.is_alone(self.kind, stream) {
                // What was there of it has been reported already.
                let wire = self.passed.saturating_sub(self.lost);
                streams.data_gap(self.kind, stream, content, wire);
                streams.explained(self.kind);
                if next.is_none_or(|next| next.stream != stream) {
                    streams.end_if_filled(self.kind, stream, self.last_hole);
                }
            } else {
                // No header block was lost, but whose content it was is not known.
                streams.lost(self.kind);
                streams.resumed(self.kind, self.passed);
            }
        } else {
            self.give_up_detour(streams);
            streams.resumed(self.kind, self.passed);
        }
    }

    /// Frames of any kind may have been lost.
    pub(super) fn give_up_detour(&mut self, streams: &mut Streams) {
        if self.detour.take().is_some() {
            self.hpack.forget();
            streams.lost(self.kind);
        }
    }

    /// Reads what the search had kept, each part at its time.
    fn feed_kept(&mut self, kept: &[u8], marks: &[(usize, MonotonicTime)], streams: &mut Streams) {
        let ends = marks.iter().skip(1).map(|(place, _)| *place).chain([kept.len()]);
        for (&(start, time), end) in marks.iter().zip(ends) {
            self.feed(time, kept.get(start..end).unwrap_or_default(), streams);
        }
    }

    pub(super) fn pass_over(&mut self, bytes: usize, streams: &mut Streams) {
        self.skip(bytes as u64, self.cause, streams);
        self.passed += bytes as u64;
        self.lost += bytes as u64;
    }

    /// Steps over bytes that are not there.
    pub(in super::super) fn gap(
        &mut self,
        time: MonotonicTime,
        length: u64,
        streams: &mut Streams,
    ) {
        let within = |left: &mut u32| {
            let within = length.min(u64::from(*left));
            *left -= within as u32;
            (within, *left == 0)
        };
        let inside = match &mut self.state {
            State::Payload { left, whole, .. } => {
                let (inside, is_done) = within(left);
                *whole = false;
                if is_done {
                    self.end_frame(time, streams);
                }
                inside
            }
            State::Data { frame, left, padding } => {
                let padded = match *padding {
                    Padding::Is(padded) => padded,
                    Padding::Unread => {
                        streams.data_lost(self.kind, frame.stream);
                        u32::from(u8::MAX)
                    }
                };
                let content = length.min(u64::from(left.saturating_sub(padded)));
                let (inside, is_done) = within(left);
                *padding = Padding::Is(padded.min(*left));
                streams.data_gap(self.kind, frame.stream, content, inside);
                if is_done {
                    self.end_frame(time, streams);
                }
                inside
            }
            State::Pass { left, .. } => {
                let (inside, is_done) = within(left);
                if is_done {
                    self.state = State::Frame;
                }
                inside
            }
            State::Search(search) => {
                let dropped = search.gap(length);
                self.pass_over(dropped, streams);
                self.passed += length;
                self.last_hole = time;
                streams.hides(self.kind);
                streams.passed(self.kind, self.passed, time);
                return;
            }
            State::Start | State::Frame => 0,
        };
        if length > inside {
            let started = std::mem::take(&mut self.buffer).len();
            self.lose_place(Cause::Unobserved, time, streams);
            self.pass_over(started, streams);
            self.passed += length - inside;
            streams.hides(self.kind);
            streams.passed(self.kind, self.passed, time);
        }
    }

    /// Frames may begin anywhere from here on, and some may have been lost.
    pub(super) fn lose_place(&mut self, cause: Cause, time: MonotonicTime, streams: &mut Streams) {
        self.break_block(streams);
        self.report_skipped(streams);
        streams.suspect(self.kind);
        self.detour = self
            .data
            .filter(|_| cause == Cause::Unobserved)
            .and_then(|frame| Detour::after(&frame, streams.rest(self.kind, frame.stream)));
        if self.detour.is_none() {
            self.hpack.forget();
            streams.lost(self.kind);
        }
        self.cause = cause;
        self.passed = 0;
        self.last_hole = time;
        self.lost = 0;
        self.state = State::Search(Box::default());
    }

    pub(super) fn skip(&mut self, bytes: u64, cause: Cause, streams: &mut Streams) {
        if cause != self.cause {
            self.report_skipped(streams);
            self.cause = cause;
        }
        self.skipped += bytes;
        if self.skipped >= REPORT_EVERY {
            self.report_skipped(streams);
        }
    }

    pub(super) fn report_skipped(&mut self, streams: &mut Streams) {
        streams.skipped(self.kind, std::mem::take(&mut self.skipped), self.cause);
    }
}
