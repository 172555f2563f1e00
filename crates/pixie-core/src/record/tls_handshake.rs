mod numbers;

#[cfg(feature = "serde")]
mod serialize;

pub use numbers::{TlsAlertDescription, TlsCipher, TlsGroup, TlsVersion};

use super::Traffic;
use crate::Text;
use crate::id::Role;
use crate::record::heap::{flat, heap};
use crate::sinks::Redaction;
use std::fmt;

/// A TLS handshake (RFC 8446; RFC 5246 and before), as far as it can be seen without keys.
///
/// Its latency is from the first byte of the client's hello to the end of the last flight.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TlsHandshake {
    /// What all traffic records have in common.
    pub traffic: Traffic,
    /// What the client offered; the first time, if it had to try again.
    pub request: Option<TlsClientHello>,
    /// What the server chose.
    pub response: Option<TlsServerHello>,
    /// By what the handshake failed, or a warning.
    pub alert: Option<TlsAlert>,
    /// The server asked for another hello (HelloRetryRequest).
    pub hello_retry: bool,
    /// False when the end of the handshake was not seen: it failed, the connection was closed, or
    /// bytes were lost.
    pub complete: bool,
}

/// What a client offers. Values that stand for nothing (GREASE, RFC 8701) are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsClientHello {
    /// The name of the server that is meant (SNI, RFC 6066).
    pub server_name: Option<Text>,
    /// The protocols that it would speak (ALPN, RFC 7301), as preferred.
    pub alpn: Vec<Text>,
    /// The versions. Where the list of them is missing, the highest.
    pub versions: Vec<TlsVersion>,
    /// The cipher suites, as preferred.
    pub ciphers: Vec<TlsCipher>,
    /// The groups for key exchange, as preferred.
    pub groups: Vec<TlsGroup>,
    /// The signature schemes, by number.
    pub signature_schemes: Vec<u16>,
    /// The extensions, by number.
    pub extensions: Vec<u16>,
    /// It offers to go on with a session of before: by its id, a ticket or a key.
    pub offers_resumption: bool,
    /// It sends data before the handshake is over (0-RTT).
    pub early_data: bool,
    /// The fingerprint JA3: an MD5 in hexadecimal digits.
    pub ja3: Text,
    /// The fingerprint JA4.
    pub ja4: Text,
}

/// What a server chooses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsServerHello {
    /// The version.
    pub version: TlsVersion,
    /// The cipher suite.
    pub cipher: TlsCipher,
    /// The protocol that is spoken (ALPN). `None` where there is none, and from TLS 1.3 on, where it
    /// is encrypted.
    pub alpn: Option<Text>,
    /// The group for key exchange, where there is one.
    pub group: Option<TlsGroup>,
    /// A session of before goes on.
    pub resumed: bool,
    /// The sizes in bytes of the server's certificates, its own first, at most 32. Encrypted from
    /// TLS 1.3 on.
    pub certificate_sizes: Vec<u32>,
}

/// An alert (RFC 8446, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsAlert {
    /// Who sent it.
    pub sender: Role,
    /// True when it was said to be fatal. `None` where it is encrypted.
    pub fatal: Option<bool>,
    /// What it says. `None` where it is encrypted.
    pub description: Option<TlsAlertDescription>,
}

impl TlsHandshake {
    /// A handshake over the connection that `traffic` names.
    #[must_use]
    pub fn new(
        traffic: Traffic,
        request: Option<TlsClientHello>,
        response: Option<TlsServerHello>,
    ) -> Self {
        Self { traffic, request, response, ..Self::default() }
    }

    /// True when an alert ended it. A handshake that just was not finished is not an error: see
    /// [`TlsHandshake::complete`].
    #[must_use]
    pub fn is_error(&self) -> bool {
        let version = self.response.as_ref().map(|response| response.version);
        self.alert.is_some_and(|alert| alert.is_failure(version.unwrap_or_default()))
    }

    /// There is nothing in it to be removed: the names of servers are those of connections' ends.
    #[expect(clippy::unused_self, reason = "every kind of record has it")]
    pub(crate) fn redact(&mut self, _: &Redaction) {}
}

impl TlsAlert {
    /// An alert.
    #[must_use]
    pub fn new(
        sender: Role,
        fatal: Option<bool>,
        description: Option<TlsAlertDescription>,
    ) -> Self {
        Self { sender, fatal, description }
    }

    /// True when it ends the handshake in this version: in TLS 1.3 every alert does but those that
    /// tell of an orderly end (RFC 8446, section 6.2), before it the fatal ones.
    #[must_use]
    pub fn is_failure(&self, version: TlsVersion) -> bool {
        let is_orderly = matches!(
            self.description,
            Some(TlsAlertDescription::CLOSE_NOTIFY | TlsAlertDescription::USER_CANCELED)
        );
        !is_orderly && (self.fatal != Some(false) || version >= TlsVersion::TLS_1_3)
    }
}

impl fmt::Display for TlsHandshake {
    /// `14:03:59.120 1234 curl client 127.0.0.1:5000 -> 127.0.0.1:443 TLS a.test TLSv1.3
    /// TLS_AES_128_GCM_SHA256 x25519 resumed 3.10 ms`, in one line.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.traffic.fmt_prefix(formatter)?;
        match self.request.as_ref().and_then(|request| request.server_name.as_ref()) {
            Some(name) => write!(formatter, " TLS {name}")?,
            None => formatter.write_str(" TLS ?")?,
        }
        if let Some(response) = &self.response {
            write!(formatter, " {} {}", response.version, response.cipher)?;
            if let Some(group) = response.group {
                write!(formatter, " {group}")?;
            }
            if let Some(protocol) = &response.alpn {
                write!(formatter, " {protocol}")?;
            }
            if response.resumed {
                formatter.write_str(" resumed")?;
            }
        }
        match &self.alert {
            Some(TlsAlert { sender, description: Some(description), .. }) => {
                write!(formatter, " {description} from {sender}")?;
            }
            Some(TlsAlert { sender, .. }) => write!(formatter, " alert from {sender}")?,
            None if self.complete => {}
            None => formatter.write_str(" not finished")?,
        }
        self.traffic.fmt_latency(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake(version: TlsVersion, alert: Option<TlsAlert>) -> TlsHandshake {
        let request =
            TlsClientHello { server_name: Some("a.test".into()), ..TlsClientHello::default() };
        let cipher = TlsCipher(0x1301);
        let response = TlsServerHello { version, cipher, ..TlsServerHello::default() };
        let mut handshake = TlsHandshake::new(Traffic::default(), Some(request), Some(response));
        handshake.complete = alert.is_none();
        handshake.alert = alert;
        handshake
    }

    #[test]
    fn a_line_says_what_was_agreed_on() {
        let mut handshake = handshake(TlsVersion::TLS_1_3, None);
        let line = handshake.to_string();
        assert!(line.ends_with(" TLS a.test TLSv1.3 TLS_AES_128_GCM_SHA256"), "{line}");
        handshake.complete = false;
        assert!(handshake.to_string().ends_with(" not finished"));
        assert!(!handshake.is_error());
    }

    #[test]
    fn alerts_are_errors_but_for_warnings_and_orderly_ends() {
        let alert = |fatal, description| {
            Some(TlsAlert::new(Role::Client, fatal, Some(TlsAlertDescription(description))))
        };
        for (version, alert, is_error) in [
            (TlsVersion::TLS_1_2, alert(Some(true), 48), true),
            (TlsVersion::TLS_1_2, alert(Some(false), 112), false),
            (TlsVersion::TLS_1_3, alert(Some(false), 48), true),
            (TlsVersion::TLS_1_3, alert(Some(false), 0), false),
            (TlsVersion::TLS_1_3, Some(TlsAlert::new(Role::Server, None, None)), true),
        ] {
            let handshake = handshake(version, alert);
            assert_eq!(handshake.is_error(), is_error, "{handshake}");
        }
        let line = handshake(TlsVersion::TLS_1_2, alert(Some(true), 48)).to_string();
        assert!(line.ends_with(" unknown_ca from client"), "{line}");
    }
}

flat! { TlsVersion TlsCipher TlsGroup }
heap! {
    TlsHandshake { request, response }
    TlsClientHello {
        server_name, alpn, versions, ciphers, groups, signature_schemes, extensions
    }
    TlsServerHello { alpn, certificate_sizes }
}
