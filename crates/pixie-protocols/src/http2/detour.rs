//! A hole in which there was nothing but the content of one stream.
//!
//! Most holes are in large bodies, of which only the start of each transfer is captured. When the
//! next frame is found at the very place where it must begin if there were only frames like the one
//! before the hole, then that is what there was: nothing else was lost.

use super::frame::{Frame, HEADER, kind};

/// Frames, or content, smaller than this explain too many lengths.
const LARGE: u64 = 4096;

/// What was under way as frames were lost sight of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Detour {
    pub(super) stream: u32,
    /// Content of the frame before the hole.
    length: u64,
    /// How much was still to come of the body, or of a message in it.
    rest: Option<u64>,
}

impl Detour {
    /// After this frame, when it is one whose like may follow.
    pub(super) fn after(frame: &Frame, rest: Option<u64>) -> Option<Self> {
        let (stream, length) = (frame.stream, u64::from(frame.length));
        let is_whole = frame.kind == kind::DATA && !frame.ends_stream() && !frame.is_padded();
        (is_whole && length >= LARGE).then_some(Self { stream, length, rest })
    }

    /// How much content there was in so many bytes, if they were that and nothing else.
    pub(super) fn content(&self, bytes: u64) -> Option<u64> {
        let frame = self.length + HEADER as u64;
        if bytes > 0 && bytes.is_multiple_of(frame) {
            let content = bytes / frame * self.length;
            return Some(content).filter(|&content| self.rest.is_none_or(|rest| content <= rest));
        }
        // All that was to come, the last frame smaller than the others.
        let rest = self.rest.filter(|&rest| rest >= LARGE)?;
        let frames = rest.div_ceil(self.length);
        (rest + frames * HEADER as u64 == bytes).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detour(length: u32, rest: Option<u64>) -> Option<Detour> {
        Detour::after(&Frame { length, kind: kind::DATA, flags: 0, stream: 1 }, rest)
    }

    #[test]
    fn whole_frames_explain_their_multiples() {
        let unknown = detour(8192, None).unwrap();
        assert_eq!(unknown.content(3 * 8201), Some(3 * 8192));
        assert_eq!(unknown.content(3 * 8201 + 50), None, "there was something else");
        assert_eq!(unknown.content(0), None);
        let known = detour(8192, Some(20_000)).unwrap();
        assert_eq!(known.content(2 * 8201), Some(2 * 8192));
        assert_eq!(known.content(3 * 8201), None, "more than there can be");
        assert_eq!(known.content(20_000 + 27), Some(20_000));
        assert_eq!(known.content(20_000 + 36), None);
    }

    #[test]
    fn small_frames_explain_nothing() {
        assert!(detour(100, None).is_none());
        assert_eq!(detour(8192, Some(50)).unwrap().content(59), None);
    }
}
