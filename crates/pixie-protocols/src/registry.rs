//! The protocols that are known: ours, and in front of them the user's.

use crate::dns::Dns;
use crate::http1::Http1;
use crate::http2::Http2;
use crate::parser::Protocol;
use crate::postgres::Postgres;
use crate::proxy_protocol::ProxyProtocol;
use crate::redis::Redis;
use crate::tls::Tls;
use crate::websocket::WebSocket;
use pixie_core::Interest;
use pixie_core::id::Transport;
use std::fmt;
use std::sync::Arc;

/// The one list of our protocols, in the order in which detection asks them.
fn built_in() -> Vec<Arc<dyn Protocol>> {
    vec![
        Arc::new(ProxyProtocol),
        Arc::new(Http1),
        Arc::new(Http2),
        Arc::new(Postgres),
        Arc::new(Dns),
        Arc::new(Redis),
        Arc::new(WebSocket),
        Arc::new(Tls),
    ]
}

/// The protocols that a session parses.
///
/// ```
/// use pixie_protocols::registry::Registry;
///
/// assert!(Registry::new().get("http1").is_some());
/// ```
#[derive(Clone)]
pub struct Registry {
    protocols: Vec<Arc<dyn Protocol>>,
    users: usize,
}

impl Registry {
    /// Our own protocols.
    #[must_use]
    pub fn new() -> Self {
        Self { protocols: built_in(), users: 0 }
    }

    /// The same and a user's protocol. It is asked before ours, in the order of adding, and takes
    /// the place of one that has the same name.
    #[must_use]
    pub fn with(mut self, protocol: Arc<dyn Protocol>) -> Self {
        let name = protocol.name();
        if let Some(place) = self.protocols.iter().position(|known| known.name() == name) {
            self.protocols.remove(place);
            self.users -= usize::from(place < self.users);
        }
        self.protocols.insert(self.users, protocol);
        self.users += 1;
        self
    }

    /// Only those protocols of which some kind of record is wanted, and what stands in front of
    /// them.
    #[must_use]
    pub fn wanted(self, interest: Interest) -> Self {
        let wants =
            |protocol: &dyn Protocol| protocol.emits().iter().any(|&kind| interest.wants(kind));
        let any = self.iter().any(|protocol| wants(&**protocol));
        self.only(|protocol| any && (protocol.emits().is_empty() || wants(protocol)))
    }

    /// Only those protocols that `keep` says yes to.
    #[must_use]
    pub fn only(mut self, keep: impl Fn(&dyn Protocol) -> bool) -> Self {
        let (kept, users) = (&mut self.protocols, &mut self.users);
        let kept_users = kept.iter().take(*users).filter(|protocol| keep(&***protocol)).count();
        kept.retain(|protocol| keep(&**protocol));
        *users = kept_users;
        self
    }

    /// The protocol of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Protocol>> {
        self.protocols.iter().find(|protocol| protocol.name() == name)
    }

    /// All of them, in the order in which detection asks them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Protocol>> {
        self.protocols.iter()
    }

    /// Those that are spoken over `transport`.
    pub fn candidates(&self, transport: Transport) -> impl Iterator<Item = &Arc<dyn Protocol>> {
        self.iter().filter(move |protocol| protocol.transport(transport))
    }

    /// True when nothing would be parsed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.protocols.is_empty()
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter().map(|protocol| protocol.name())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::{Context, Parser, Verdict};
    use pixie_core::RecordKind;

    struct Users(&'static str);

    impl Protocol for Users {
        fn name(&self) -> &'static str {
            self.0
        }

        fn emits(&self) -> &[RecordKind] {
            &[RecordKind::Custom]
        }

        fn probe(&self, _: &[u8]) -> Verdict {
            Verdict::No
        }

        fn parser(&self, context: Context) -> Box<dyn Parser> {
            Http1.parser(context)
        }
    }

    fn names(registry: &Registry) -> Vec<&'static str> {
        registry.iter().map(|protocol| protocol.name()).collect()
    }

    #[test]
    fn a_users_protocols_come_first_and_in_order() {
        let registry = Registry::new().with(Arc::new(Users("a"))).with(Arc::new(Users("b")));
        assert_eq!(names(&registry).get(..2), Some(&["a", "b"][..]));
        assert!(names(&registry).contains(&"http1"));
    }

    #[test]
    fn a_users_protocol_replaces_one_of_the_same_name() {
        let registry = Registry::new().with(Arc::new(Users("http1")));
        let same_name = registry.iter().filter(|protocol| protocol.name() == "http1").count();
        assert_eq!(same_name, 1);
        let emitted = registry.get("http1").map(|protocol| protocol.emits().to_vec());
        assert_eq!(emitted, Some(vec![RecordKind::Custom]));
    }

    #[test]
    fn what_nobody_wants_is_left_out() {
        let registry = Registry::new().with(Arc::new(Users("a")));
        let wanted = registry.clone().wanted(Interest::none().with(RecordKind::Custom));
        assert_eq!(names(&wanted), ["a", "proxy_protocol"]);
        let registry = registry.wanted(Interest::none().with(RecordKind::Http));
        assert!(!names(&registry).contains(&"a"));
        assert_eq!(names(&registry.with(Arc::new(Users("b")))).first(), Some(&"b"));
    }

    #[test]
    fn what_stands_in_front_of_others_is_kept_with_them() {
        let wanted = |kind| names(&Registry::new().wanted(Interest::none().with(kind)));
        assert_eq!(wanted(RecordKind::Redis), ["proxy_protocol", "redis"]);
        assert_eq!(wanted(RecordKind::WebSocket), ["proxy_protocol", "http1", "websocket"]);
        assert!(wanted(RecordKind::Stack).is_empty());
    }

    #[test]
    fn names_are_unique() {
        let names = names(&Registry::new());
        let unique: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
    }
}
