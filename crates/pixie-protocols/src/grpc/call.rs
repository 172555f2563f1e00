//! An HTTP exchange that is a call.

use super::Messages;
use bytes::Bytes;
use pixie_core::Text;
use pixie_core::record::{
    Body, Grpc, GrpcMessages, GrpcRequest, GrpcResponse, GrpcStatus, Headers, Http, HttpRequest,
    HttpResponse,
};
use std::time::Duration;

/// The call that an exchange is, with the messages of its request and of its response. What has no
/// messages was not seen, or is no gRPC: an error page of a proxy, say.
pub(crate) fn call(
    http: Http,
    request: Option<Box<Messages>>,
    response: Option<Box<Messages>>,
) -> Grpc {
    let Http { traffic, request: asked, response: answered, reset, .. } = http;
    let request = asked.map(|asked| self::request(asked, request));
    let response = answered.map(|answered| self::response(answered, response));
    let mut call = Grpc::new(traffic, request, response);
    call.reset = reset;
    call
}

fn request(http: HttpRequest, messages: Option<Box<Messages>>) -> GrpcRequest {
    let mut request = GrpcRequest::default();
    (request.service, request.method) = service_and_method(&http.path);
    request.version = http.version;
    request.timeout = http.headers.get("grpc-timeout").and_then(timeout);
    (request.messages, _) = finish(messages, &http.body, &http.headers);
    request.headers = http.headers;
    request
}

fn response(http: HttpResponse, messages: Option<Box<Messages>>) -> GrpcResponse {
    let mut response = GrpcResponse::default();
    let (messages, trailers) = finish(messages, &http.body, &http.headers);
    response.messages = messages;
    response.http_status = http.status;
    response.trailers = trailers.unwrap_or(http.trailers);
    response.headers = http.headers;
    // Where there is nothing but a status, it is among the header fields ("Trailers-Only").
    let field = |name| response.trailers.get(name).or_else(|| response.headers.get(name));
    let status = field("grpc-status").and_then(|value| std::str::from_utf8(value).ok());
    let message = Text::from_bytes(field("grpc-message").map(percent_decoded).unwrap_or_default());
    response.status = status.and_then(|status| status.trim().parse().ok()).map(GrpcStatus);
    response.message = message;
    response
}

fn finish(
    messages: Option<Box<Messages>>,
    body: &Body,
    headers: &Headers,
) -> (GrpcMessages, Option<Headers>) {
    let encoding = headers.get("grpc-encoding").unwrap_or_default();
    let Some(messages) = messages else {
        let mut none = GrpcMessages::default();
        none.complete = body.complete && body.size == 0;
        return (none, None);
    };
    messages.finish(body.complete, encoding)
}

/// `/package.Service/Method`
fn service_and_method(path: &Text) -> (Text, Text) {
    let bytes = Bytes::copy_from_slice(path.as_bytes());
    let start = usize::from(bytes.starts_with(b"/"));
    match bytes.iter().rposition(|&byte| byte == b'/') {
        Some(slash) if slash >= start => (
            Text::from_bytes(bytes.slice(start..slash)),
            Text::from_bytes(bytes.slice(slash + 1..)),
        ),
        _ => (Text::default(), Text::from_bytes(bytes.slice(start..))),
    }
}

/// At most eight digits and a unit.
fn timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let number = Some(number).filter(|_| digits.len() <= 8)?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// What is not `%` and two digits stays as it is.
fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, following)) = rest.split_first() {
        let escaped = match (first, following) {
            (b'%', [high, low, ..]) => digit(*high).zip(digit(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                decoded.push(high << 4 | low);
                rest = following.get(2..).unwrap_or_default();
            }
            None => {
                decoded.push(first);
                rest = following;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_service_and_a_method() {
        let split = |path: &str| service_and_method(&path.into());
        assert_eq!(split("/a.Greeter/Hello"), ("a.Greeter".into(), "Hello".into()));
        assert_eq!(split("/prefix/a.Greeter/Hello"), ("prefix/a.Greeter".into(), "Hello".into()));
        assert_eq!(split("/Hello"), ("".into(), "Hello".into()));
        assert_eq!(split(""), ("".into(), "".into()));
    }

    #[test]
    fn timeouts_have_units() {
        assert_eq!(timeout(b"2H"), Some(Duration::from_secs(7200)));
        assert_eq!(timeout(b"3M"), Some(Duration::from_secs(180)));
        assert_eq!(timeout(b"10S"), Some(Duration::from_secs(10)));
        assert_eq!(timeout(b"99999999m"), Some(Duration::from_millis(99_999_999)));
        assert_eq!(timeout(b"5u"), Some(Duration::from_micros(5)));
        assert_eq!(timeout(b"7n"), Some(Duration::from_nanos(7)));
        for invalid in ["", "S", "1", "1s", "-1S", "123456789S"] {
            assert_eq!(timeout(invalid.as_bytes()), None, "{invalid}");
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(percent_decoded(b"caf%C3%A9: 100%25"), "caf\u{e9}: 100%".as_bytes());
        assert_eq!(percent_decoded(b"100% %zz %4"), b"100% %zz %4");
    }
}
