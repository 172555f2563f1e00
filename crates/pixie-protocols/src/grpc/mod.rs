//! gRPC (the project's `PROTOCOL-HTTP2.md` and `PROTOCOL-WEB.md`): what HTTP carries, as calls.
//!
//! ```text
//!   http1 ─┐  body ──► messages ─┐
//!          ├─                    ├─► call ──► Record::Grpc
//!   http2 ─┘  head, trailers ────┘
//! ```
//!
//! It is no protocol of its own: the parsers of HTTP hand over exchanges whose `content-type` says
//! that they are calls.

mod base64;
mod call;
mod messages;

pub(crate) use call::call;
pub(crate) use messages::Messages;

/// How the messages of a call are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `application/grpc`: messages with a prefix; trailers are HTTP's.
    Plain,
    /// `application/grpc-web`: the same, and trailers come as a last message.
    Web,
    /// `application/grpc-web-text`: that in base64.
    WebText,
}

impl Format {
    /// The format that a `content-type` stands for.
    pub(crate) fn of(content_type: &[u8]) -> Option<Self> {
        const NAMES: [(&[u8], Format); 3] = [
            (b"application/grpc-web-text", Format::WebText),
            (b"application/grpc-web", Format::Web),
            (b"application/grpc", Format::Plain),
        ];
        let is = |name: &[u8]| match content_type.split_at_checked(name.len()) {
            Some((start, rest)) => {
                start.eq_ignore_ascii_case(name)
                    && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
            }
            None => false,
        };
        NAMES.into_iter().find_map(|(name, format)| is(name).then_some(format))
    }
}

#[cfg(test)]
mod tests {
    use super::Format;

    #[test]
    fn the_content_type_tells() {
        assert_eq!(Format::of(b"application/grpc"), Some(Format::Plain));
        assert_eq!(Format::of(b"application/grpc+proto"), Some(Format::Plain));
        assert_eq!(Format::of(b"Application/gRPC;a=b"), Some(Format::Plain));
        assert_eq!(Format::of(b"application/grpc-web+proto"), Some(Format::Web));
        assert_eq!(Format::of(b"application/grpc-web-text"), Some(Format::WebText));
        assert_eq!(Format::of(b"application/grpcx"), None);
        assert_eq!(Format::of(b"application/json"), None);
    }
}
