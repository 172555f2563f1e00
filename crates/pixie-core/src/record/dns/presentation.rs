//! Data of the less common types as in a zone file. It is kept as sent, and made readable only when
//! shown: what is not formed as its type says has no such form.

use super::DnsType;
use super::data::{DnsData, push_dns_label, quoted};
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The data of a record of this type in presentation form.
pub(super) fn of(kind: DnsType, data: &[u8]) -> Option<String> {
    let rest = &mut Reader(data);
    let text = match kind {
        DnsType::CAA => caa(rest)?,
        DnsType::DS | DnsType::CDS => {
            format!("{} {} {} {}", rest.u16()?, rest.u8()?, rest.u8()?, hex(rest.all()))
        }
        DnsType::DNSKEY | DnsType::CDNSKEY | DnsType::KEY => {
            format!("{} {} {} {}", rest.u16()?, rest.u8()?, rest.u8()?, base64(rest.all()))
        }
        DnsType::RRSIG | DnsType::SIG => rrsig(rest)?,
        DnsType::NSEC => format!("{}{}", rest.name()?, rest.types()?),
        DnsType::NSEC3 => {
            let (head, next) = (nsec3(rest)?, rest.counted()?);
            format!("{head} {}{}", digits(next, 5, BASE32HEX), rest.types()?)
        }
        DnsType::NSEC3PARAM => nsec3(rest)?,
        DnsType::TLSA | DnsType::SMIMEA => {
            format!("{} {} {} {}", rest.u8()?, rest.u8()?, rest.u8()?, hex(rest.all()))
        }
        DnsType::SSHFP => format!("{} {} {}", rest.u8()?, rest.u8()?, hex(rest.all())),
        DnsType::ZONEMD => {
            format!("{} {} {} {}", rest.u32()?, rest.u8()?, rest.u8()?, hex(rest.all()))
        }
        DnsType::OPENPGPKEY => base64(rest.all()),
        DnsType::HINFO => format!("{} {}", quoted(rest.counted()?), quoted(rest.counted()?)),
        DnsType::URI => format!("{} {} {}", rest.u16()?, rest.u16()?, quoted(rest.all())),
        DnsType::NAPTR => format!(
            "{} {} {} {} {} {}",
            rest.u16()?,
            rest.u16()?,
            quoted(rest.counted()?),
            quoted(rest.counted()?),
            quoted(rest.counted()?),
            rest.name()?
        ),
        DnsType::SVCB | DnsType::HTTPS => svcb(rest)?,
        DnsType::LOC => loc(rest)?,
        _ => return None,
    };
    rest.0.is_empty().then_some(text)
}

/// RFC 8659, section 4.1.
fn caa(rest: &mut Reader<'_>) -> Option<String> {
    let (flags, tag) = (rest.u8()?, rest.counted()?);
    let tag = std::str::from_utf8(tag).ok()?;
    let is_tag = !tag.is_empty() && tag.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_tag.then(|| format!("{flags} {tag} {}", quoted(rest.all())))
}

/// RFC 4034, section 3.
fn rrsig(rest: &mut Reader<'_>) -> Option<String> {
    let (covered, algorithm, labels) = (DnsType(rest.u16()?), rest.u8()?, rest.u8()?);
    let (ttl, expiration, inception) = (rest.u32()?, time(rest.u32()?), time(rest.u32()?));
    let (key, signer) = (rest.u16()?, rest.name()?);
    let signature = base64(rest.all());
    Some(format!(
        "{covered} {algorithm} {labels} {ttl} {expiration} {inception} {key} {signer} {signature}"
    ))
}

/// Seconds since 1970 as `YYYYMMDDHHmmSS` (RFC 4034, section 3.2), up to the year 2106.
fn time(seconds: u32) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since 1 March of the year 0, in eras of 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u32::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}")
}

/// What `NSEC3` and `NSEC3PARAM` have in common (RFC 5155, sections 3 and 4).
fn nsec3(rest: &mut Reader<'_>) -> Option<String> {
    let (algorithm, flags, iterations) = (rest.u8()?, rest.u8()?, rest.u16()?);
    let salt = match rest.counted()? {
        [] => "-".to_owned(),
        salt => hex(salt),
    };
    Some(format!("{algorithm} {flags} {iterations} {salt}"))
}

/// RFC 9460, section 2.
fn svcb(rest: &mut Reader<'_>) -> Option<String> {
    let mut text = format!("{} {}", rest.u16()?, rest.name()?);
    while !rest.0.is_empty() {
        let (key, length) = (rest.u16()?, rest.u16()?);
        let value = &mut Reader(rest.take(length.into())?);
        text.push(' ');
        text.push_str(&service_key(key));
        match key {
            0 => text.push_str(&listed(value, |value| value.u16().map(service_key))?),
            1 => {
                let protocols = std::iter::from_fn(|| value.counted());
                let protocols: Vec<&[u8]> = protocols.collect();
                text.push('=');
                text.push_str(&quoted(&protocols.join(&b',')));
            }
            2 => {}
            3 => write!(text, "={}", value.u16()?).ok()?,
            4 => text.push_str(&listed(value, |value| value.u32().map(Ipv4Addr::from))?),
            5 => {
                write!(text, "={}", base64(value.all())).ok()?;
            }
            6 => text.push_str(&listed(value, |value| {
                let bytes: [u8; 16] = value.take(16)?.try_into().ok()?;
                Some(Ipv6Addr::from(bytes))
            })?),
            _ if value.0.is_empty() => {}
            _ => write!(text, "={}", quoted(value.all())).ok()?,
        }
        value.0.is_empty().then_some(())?;
    }
    Some(text)
}

fn service_key(key: u16) -> String {
    const NAMES: [&str; 9] = [
        "mandatory",
        "alpn",
        "no-default-alpn",
        "port",
        "ipv4hint",
        "ech",
        "ipv6hint",
        "dohpath",
        "ohttp",
    ];
    match NAMES.get(usize::from(key)) {
        Some(name) => (*name).to_owned(),
        None => format!("key{key}"),
    }
}

/// `=`, and what the value is a list of.
fn listed<T: ToString>(
    value: &mut Reader<'_>,
    element: impl Fn(&mut Reader<'_>) -> Option<T>,
) -> Option<String> {
    let mut elements = Vec::new();
    while !value.0.is_empty() {
        elements.push(element(value)?.to_string());
    }
    Some(format!("={}", elements.join(",")))
}

/// RFC 1876, sections 2 and 3.
fn loc(rest: &mut Reader<'_>) -> Option<String> {
    let (version, size, horizontal, vertical) = (rest.u8()?, rest.u8()?, rest.u8()?, rest.u8()?);
    if version != 0 {
        return None;
    }
    let angle = |value: u32, signs: [char; 2]| {
        let from_middle = value.abs_diff(1 << 31);
        let (thousandths, seconds) = (from_middle % 1000, from_middle / 1000);
        let (degrees, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let [positive, negative] = signs;
        let sign = if value >= 1 << 31 { positive } else { negative };
        format!("{degrees} {minutes} {seconds}.{thousandths:03} {sign}")
    };
    let (latitude, longitude) = (angle(rest.u32()?, ['N', 'S']), angle(rest.u32()?, ['E', 'W']));
    let altitude = i64::from(rest.u32()?) - 10_000_000;
    let (sign, altitude) = (if altitude < 0 { "-" } else { "" }, altitude.unsigned_abs());
    let length = |value: u8| {
        let (digit, zeros) = (u64::from(value >> 4), u32::from(value & 15));
        let is_length = digit <= 9 && zeros <= 9;
        is_length.then(|| match digit * 10_u64.pow(zeros) {
            centimetres @ 100.. => format!("{}m", centimetres / 100),
            centimetres => format!("0.{centimetres:02}m"),
        })
    };
    Some(format!(
        "{latitude} {longitude} {sign}{}.{:02}m {} {} {}",
        altitude / 100,
        altitude % 100,
        length(size)?,
        length(horizontal)?,
        length(vertical)?
    ))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    // Writing to a string does not fail.
    let _ = DnsData::fmt_hex(bytes, &mut text);
    text
}

const BASE32HEX: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUV";
const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut text = digits(bytes, 6, BASE64);
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// The bytes as digits of so many bits each, without padding (RFC 4648).
fn digits(bytes: &[u8], bits: u32, alphabet: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    let (mut buffer, mut held) = (0_u32, 0);
    let mask = (1 << bits) - 1;
    let mut push = |digit: u32| {
        let digit = alphabet.get((digit & mask) as usize).copied().unwrap_or_default();
        text.push(char::from(digit));
    };
    for &byte in bytes {
        buffer = buffer << 8 | u32::from(byte);
        held += 8;
        while held >= bits {
            held -= bits;
            push(buffer >> held);
        }
        buffer &= (1 << held) - 1;
    }
    if held > 0 {
        push(buffer << (bits - held));
    }
    text
}

/// What is left to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn all(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// Bytes after their length in one byte.
    fn counted(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(length.into())
    }

    /// A name that is not compressed.
    fn name(&mut self) -> Option<String> {
        let mut text = Vec::new();
        let mut length = 0;
        loop {
            let label = self.counted()?;
            length += 1 + label.len();
            if label.len() > 63 || length > 255 {
                return None;
            }
            if label.is_empty() {
                break;
            }
            if !text.is_empty() {
                text.push(b'.');
            }
            push_dns_label(label, &mut text);
        }
        if text.is_empty() {
            text.push(b'.');
        }
        String::from_utf8(text).ok()
    }

    /// The types in a bitmap, to the end, each after a space (RFC 4034, section 4.1.2).
    fn types(&mut self) -> Option<String> {
        let mut text = String::new();
        while !self.0.is_empty() {
            let (window, bitmap) = (self.u8()?, self.counted()?);
            for (place, byte) in bitmap.iter().enumerate().take(32) {
                for bit in (0..8_usize).filter(|bit| byte & 0x80 >> bit != 0) {
                    let low = u8::try_from(place * 8 + bit).ok()?;
                    let kind = DnsType(u16::from_be_bytes([window, low]));
                    write!(text, " {kind}").ok()?;
                }
            }
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<char> = hex.chars().filter(|digit| !digit.is_whitespace()).collect();
        let pairs = digits.chunks(2).map(|pair| pair.iter().collect::<String>());
        pairs.map(|pair| u8::from_str_radix(&pair, 16).unwrap()).collect()
    }

    #[track_caller]
    fn assert_presentation(kind: DnsType, data: &str, expected: &str) {
        assert_eq!(of(kind, &bytes(data)).as_deref(), Some(expected));
    }

    #[test]
    fn service_bindings_of_rfc_9460() {
        // Appendix D.2.
        let foo = "03666f6f 076578616d706c65 03636f6d 00";
        assert_presentation(DnsType::HTTPS, &format!("0000 {foo}"), "0 foo.example.com");
        assert_presentation(DnsType::SVCB, "0001 00", "1 .");
        assert_presentation(
            DnsType::SVCB,
            &format!("0010 {foo} 0003 0002 0035"),
            "16 foo.example.com port=53",
        );
        assert_presentation(
            DnsType::SVCB,
            &format!("0001 {foo} 029b 0009 68656c6c6fd2716f6f"),
            r#"1 foo.example.com key667="hello\210qoo""#,
        );
        assert_presentation(
            DnsType::SVCB,
            &format!(
                "0001 {foo} 0006 0020 20010db8000000000000000000000001 20010db8000000000000000000530001"
            ),
            "1 foo.example.com ipv6hint=2001:db8::1,2001:db8::53:1",
        );
        assert_presentation(
            DnsType::SVCB,
            "0010 03666f6f 076578616d706c65 036f7267 00 0000 0004 0001 0004 \
             0001 0009 02 6832 05 68332d3139 0004 0004 c0000201",
            r#"16 foo.example.org mandatory=alpn,ipv4hint alpn="h2,h3-19" ipv4hint=192.0.2.1"#,
        );
    }

    #[test]
    fn signatures_and_denials_of_rfc_4034() {
        // Section 4.3.
        assert_presentation(
            DnsType::NSEC,
            "04686f7374 076578616d706c65 03636f6d 00 0006 400100000003 \
             041b 000000000000000000000000000000000000000000000000000020",
            "host.example.com A MX RRSIG NSEC TYPE1234",
        );
        assert_presentation(
            DnsType::RRSIG,
            "0001 05 03 00015180 3e7c9dd7 3e5510d7 0a52 076578616d706c65 03636f6d 00 1a6f",
            "A 5 3 86400 20030322173103 20030220173103 2642 example.com Gm8=",
        );
        assert_presentation(DnsType::DS, "ec45 05 01 2bb183", "60485 5 1 2bb183");
    }

    #[test]
    fn times_are_dates() {
        assert_eq!(time(0), "19700101000000");
        assert_eq!(time(951_827_696), "20000229123456");
        assert_eq!(time(u32::MAX), "21060207062815");
    }

    #[test]
    fn places_of_rfc_1876() {
        // The example of section 4, as BIND shows it.
        assert_presentation(
            DnsType::LOC,
            "00 33 16 13 8917 2dd0 70be 15f0 0098 8d20",
            "42 21 54.000 N 71 6 18.000 W -24.00m 30m 10000m 10m",
        );
        assert_eq!(of(DnsType::LOC, &bytes("01 00 00 00 00000000 00000000 00000000")), None);
    }

    #[test]
    fn others() {
        assert_presentation(DnsType::CAA, "00 05 6973737565 61 22", r#"0 issue "a\"""#);
        assert_presentation(
            DnsType::NSEC3,
            "01 01 000c 04 aabbccdd 03 ffff00 0001 40",
            "1 1 12 aabbccdd VVVG0 A",
        );
        assert_presentation(DnsType::NSEC3PARAM, "01 00 0000 00", "1 0 0 -");
        assert_presentation(DnsType::TLSA, "03 01 01 abcd", "3 1 1 abcd");
        assert_presentation(
            DnsType::NAPTR,
            "0064 000a 01 75 07 4532552b736970 00 00",
            r#"100 10 "u" "E2U+sip" "" ."#,
        );
        assert_presentation(DnsType::DNSKEY, "0101 03 0d 000102", "257 3 13 AAEC");
    }

    #[test]
    fn what_is_malformed_has_no_such_form() {
        for (kind, data) in [
            (DnsType::DS, "ec45 05"),
            (DnsType::NSEC, "04686f7374 00 00ff"),
            (DnsType::NSEC3PARAM, "01 00 0000 00 00"),
            (DnsType::SVCB, "0001 00 0003 0001 00"),
            (DnsType::NSEC, "c000 0001 40"),
            (DnsType(65280), "00"),
        ] {
            assert_eq!(of(kind, &bytes(data)), None, "{kind} {data}");
        }
    }
}
