//! What was agreed on when the WebSocket was opened (RFC 6455, section 4; RFC 7692, section 7).

use pixie_core::id::Role;
use pixie_core::record::{Headers, Http};
use pixie_core::{Record, Text};

/// What the `Upgrade` request and its answer say.
#[derive(Clone, Debug, Default)]
pub(super) struct Agreement {
    pub(super) path: Option<Text>,
    pub(super) subprotocol: Option<Text>,
    /// The exchange was seen, so that messages were seen from the first one on.
    pub(super) is_known: bool,
    /// permessage-deflate, if it is used.
    pub(super) deflate: Option<Deflate>,
}

/// Whether each message is compressed by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Deflate {
    client_alone: bool,
    server_alone: bool,
}

impl Deflate {
    /// Whether messages of this end are compressed without regard to earlier ones.
    pub(super) fn is_alone(self, sender: Role) -> bool {
        match sender {
            Role::Client => self.client_alone,
            Role::Server => self.server_alone,
        }
    }
}

impl Agreement {
    /// By the exchange, where that was seen.
    pub(super) fn of(begun: Option<&Record>) -> Self {
        let Some(Record::Http(http)) = begun else { return Self::default() };
        let Http { request, response, .. } = &**http;
        let headers = response.as_ref().map(|response| &response.headers);
        let value = |name| headers.and_then(|headers| headers.get(name));
        Self {
            path: request.as_ref().map(|request| request.path.clone()),
            subprotocol: value("sec-websocket-protocol")
                .map(|name| Text::from_bytes(name.to_vec())),
            is_known: headers.is_some(),
            deflate: headers.and_then(deflate),
        }
    }
}

fn deflate(headers: &Headers) -> Option<Deflate> {
    let extensions = headers.get_all("sec-websocket-extensions");
    let mut extensions = extensions.flat_map(|value| value.split(|byte| *byte == b','));
    extensions.find_map(|extension| {
        let mut words = extension.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        if !words.next()?.eq_ignore_ascii_case(b"permessage-deflate") {
            return None;
        }
        let mut deflate = Deflate::default();
        for word in words {
            deflate.client_alone |= word.eq_ignore_ascii_case(b"client_no_context_takeover");
            deflate.server_alone |= word.eq_ignore_ascii_case(b"server_no_context_takeover");
        }
        Some(deflate)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed(extensions: &str) -> Option<Deflate> {
        deflate(&[("Sec-WebSocket-Extensions", extensions)].into_iter().collect())
    }

    #[test]
    fn the_extension_and_its_parameters_are_understood() {
        assert_eq!(agreed("x-other"), None);
        assert_eq!(agreed("x-other, permessage-deflate"), Some(Deflate::default()));
        let alone =
            agreed("permessage-deflate; server_no_context_takeover; client_max_window_bits=15");
        let alone = alone.unwrap();
        assert!(alone.is_alone(Role::Server) && !alone.is_alone(Role::Client));
    }
}
