//! The registered methods (IANA, Hypertext Transfer Protocol Method Registry), by which requests
//! are recognised. A connection that is known to speak HTTP may use any other token, too.

use bytes::Bytes;
use pixie_core::Text;

/// Every registered method but `PRI`, which begins the preface of HTTP/2. The frequent ones first.
const REGISTERED: &[&str] = &[
    "GET",
    "POST",
    "PUT",
    "HEAD",
    "DELETE",
    "PATCH",
    "OPTIONS",
    "CONNECT",
    "TRACE",
    "QUERY",
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "ORDERPATCH",
    "PROPFIND",
    "PROPPATCH",
    "REBIND",
    "REPORT",
    "SEARCH",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

/// How bytes compare with a method and the space after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prefix {
    /// They begin with this many bytes of method and space.
    Is(usize),
    /// They are too few to tell.
    Partial,
    No,
}

/// Whether `bytes` begin with a registered method.
pub(super) fn prefix(bytes: &[u8]) -> Prefix {
    let mut partial = false;
    for method in REGISTERED {
        let method = method.as_bytes();
        match bytes.get(..method.len()) {
            Some(start) if start == method => match bytes.get(method.len()) {
                Some(b' ') => return Prefix::Is(method.len() + 1),
                Some(_) => {}
                None => partial = true,
            },
            Some(_) => {}
            None => partial |= method.starts_with(bytes),
        }
    }
    if partial { Prefix::Partial } else { Prefix::No }
}

/// The longest registered method that `bytes` end with.
pub(super) fn suffix(bytes: &[u8]) -> Option<&'static str> {
    REGISTERED
        .iter()
        .copied()
        .filter(|method| bytes.ends_with(method.as_bytes()))
        .max_by_key(|method| method.len())
}

/// The length of the longest start of a registered method that `bytes` end with.
pub(super) fn partial_suffix(bytes: &[u8]) -> usize {
    let length = |method: &&'static str| {
        let starts = (1..=method.len()).rev().filter_map(|length| method.as_bytes().get(..length));
        starts.map(|start| if bytes.ends_with(start) { start.len() } else { 0 }).max()
    };
    REGISTERED.iter().filter_map(length).max().unwrap_or(0)
}

/// A method as text, without memory of its own if it is a registered one.
pub(super) fn text(head: &Bytes, method: std::ops::Range<usize>) -> Text {
    let bytes = head.get(method.clone()).unwrap_or_default();
    match REGISTERED.iter().find(|known| known.as_bytes() == bytes) {
        Some(known) => Text::from_bytes(Bytes::from_static(known.as_bytes())),
        None => Text::from_bytes(head.slice(method)),
    }
}
