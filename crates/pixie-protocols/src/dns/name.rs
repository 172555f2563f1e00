//! Domain names on the wire (RFC 1035, sections 3.1 and 4.1.4).

use pixie_core::record::push_dns_label;

/// Why bytes could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// They go on beyond what is there.
    Partial,
    /// No more bytes can make them right.
    Malformed,
}

/// The most bytes that a name takes without compression.
const MAX_LENGTH: usize = 255;

/// Where headers end: no name lies before.
const HEADER: usize = 12;

/// The length of a label, or where the name goes on.
enum Step {
    Label(usize),
    Pointer(usize),
}

fn step(message: &[u8], at: usize) -> Result<Step, Fault> {
    match message.get(at).copied().ok_or(Fault::Partial)? {
        length @ 0..=63 => Ok(Step::Label(length.into())),
        high @ 0xc0.. => {
            let low = message.get(at + 1).copied().ok_or(Fault::Partial)?;
            Ok(Step::Pointer(usize::from(u16::from_be_bytes([high & 0x3f, low]))))
        }
        // 01 was for extended labels, which are no more (RFC 6891, section 5).
        _ => Err(Fault::Malformed),
    }
}

/// Where a pointer at `at` leads when it is the whole name.
#[inline]
pub(super) fn pointer(message: &[u8], at: usize) -> Option<usize> {
    match step(message, at) {
        Ok(Step::Pointer(target)) => Some(target),
        _ => None,
    }
}

/// The end of the name that starts at `at`, without following its pointer.
pub(super) fn skip(message: &[u8], at: usize) -> Result<usize, Fault> {
    let mut end = at;
    loop {
        match step(message, end)? {
            Step::Label(0) => return Ok(end + 1),
            Step::Label(length) => end += 1 + length,
            Step::Pointer(target) if target < HEADER || target >= at => {
                return Err(Fault::Malformed);
            }
            Step::Pointer(_) => return Ok(end + 2),
        }
        if end - at >= MAX_LENGTH {
            return Err(Fault::Malformed);
        }
        if end >= message.len() {
            return Err(Fault::Partial);
        }
    }
}

/// Appends the name that starts at `at` to `text`, in presentation form; the root is `.`. Returns
/// where it ends.
///
/// A pointer must lead to before the labels that it follows on, as "a prior occurrence" does: so
/// there are no loops.
pub(super) fn read(message: &[u8], at: usize, text: &mut Vec<u8>) -> Result<usize, Fault> {
    let begin = text.len();
    // Where the labels start that are read now, and where they are read.
    let (mut start, mut place) = (at, at);
    let mut end = None;
    let mut length = 0;
    loop {
        match step(message, place)? {
            Step::Label(0) => break,
            Step::Label(size) => {
                length += 1 + size;
                if length >= MAX_LENGTH {
                    return Err(Fault::Malformed);
                }
                let label = message.get(place + 1..place + 1 + size).ok_or(Fault::Partial)?;
                if text.len() > begin {
                    text.push(b'.');
                }
                push_dns_label(label, text);
                place += 1 + size;
            }
            Step::Pointer(target) => {
                if target < HEADER || target >= start {
                    return Err(Fault::Malformed);
                }
                end = end.or(Some(place + 2));
                (start, place) = (target, target);
            }
        }
    }
    if text.len() == begin {
        text.push(b'.');
    }
    Ok(end.unwrap_or(place + 1))
}

#[cfg(test)]
mod tests {
    use super::{Fault, read, skip};

    /// The name at `at` of a message with these bytes after its header.
    fn name(after_header: &[u8], at: usize) -> Result<(String, usize), Fault> {
        let message = [&[0; 12][..], after_header].concat();
        let mut text = Vec::new();
        let end = read(&message, 12 + at, &mut text)?;
        assert_eq!(skip(&message, 12 + at), Ok(end), "skipped as it is read");
        Ok((String::from_utf8(text).unwrap(), end - 12))
    }

    #[test]
    fn names_are_read_in_presentation_form() {
        assert_eq!(name(b"\x01a\x04test\x00", 0), Ok(("a.test".into(), 8)));
        assert_eq!(name(b"\x00", 0), Ok((".".into(), 1)));
        assert_eq!(name(b"\x05a.b c\x00", 0), Ok((r"a\.b\032c".into(), 7)));
        assert_eq!(name(b"\x02\xff\\\x00", 0), Ok((r"\255\\".into(), 4)));
    }

    #[test]
    fn pointers_lead_back() {
        let names = b"\x01a\x04test\x00\x01b\xc0\x0e\xc0\x14";
        assert_eq!(name(names, 8), Ok(("b.test".into(), 12)));
        assert_eq!(name(names, 12), Ok(("b.test".into(), 14)));
    }

    #[test]
    fn loops_are_refused() {
        for names in
            [&b"\xc0\x0c"[..], b"\x01a\xc0\x0c", b"\xc0\x0e\xc0\x0c", b"\xc0\x00", b"\xc0\x0d"]
        {
            assert_eq!(name(names, 0), Err(Fault::Malformed), "{}", names.escape_ascii());
        }
        // Within the labels that it follows on.
        assert_eq!(name(b"\x01a\x01b\xc0\x0e", 0), Err(Fault::Malformed));
        // Each leads to the one before, to no end.
        let chain: Vec<u8> = (0..100_u16)
            .flat_map(|n| (0xc000 + 12 + n.saturating_sub(1) * 2).to_be_bytes())
            .collect();
        assert_eq!(name(&chain, 198), Err(Fault::Malformed));
    }

    #[test]
    fn names_are_bounded() {
        let long = [&b"\x3f"[..], &[b'a'; 63]].concat();
        let most = [&long.repeat(3)[..], b"\x3d", &[b'a'; 61], b"\x00"].concat();
        assert_eq!(most.len(), 255);
        assert_eq!(name(&most, 0).map(|(_, end)| end), Ok(255));
        let more = [&long.repeat(3)[..], b"\x3e", &[b'a'; 62], b"\x00"].concat();
        assert_eq!(name(&more, 0), Err(Fault::Malformed));
        // A label and a pointer to the one before, over and over.
        let mut chain = b"\x01a\x00".to_vec();
        for _ in 0..1000 {
            let last = chain.len().saturating_sub(4).max(if chain.len() > 3 { 3 } else { 0 });
            let [high, low] = (0xc000 + 12 + last as u16).to_be_bytes();
            chain.extend([1, b'a', high, low]);
        }
        assert_eq!(
            read(&[&[0; 12][..], &chain].concat(), 12 + chain.len() - 4, &mut Vec::new()),
            Err(Fault::Malformed)
        );
    }

    #[test]
    fn extended_labels_are_refused() {
        assert_eq!(name(b"\x41a\x00", 0), Err(Fault::Malformed));
        assert_eq!(name(b"\x80a\x00", 0), Err(Fault::Malformed));
    }

    #[test]
    fn a_name_may_go_on() {
        for names in [&b""[..], b"\x01", b"\x01a", b"\x01a\xc0"] {
            assert_eq!(name(names, 0), Err(Fault::Partial), "{}", names.escape_ascii());
        }
    }
}
