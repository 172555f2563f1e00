//! The numbers that IANA keeps for DNS, and their names
//! (<https://www.iana.org/assignments/dns-parameters>).

use std::fmt;

/// A number with names for some of its values; others are shown by `$other` and the number.
macro_rules! numbers {
    (
        $(#[$meta:meta])* $type:ident($number:ty) other $other:literal {
            $($constant:ident $value:literal $name:literal,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(pub $number);

        impl $type {
            $(#[doc = concat!("`", $name, "`")] pub const $constant: Self = Self($value);)+

            /// Its name, where it has one.
            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($name),)+
                    _ => None,
                }
            }
        }

        impl fmt::Display for $type {
            #[doc = concat!("The name, or `", $other, "` and the number.")]
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => formatter.write_str(name),
                    None => write!(formatter, concat!($other, "{}"), self.0),
                }
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self.name() {
                    Some(name) => serializer.serialize_str(name),
                    None => serializer.collect_str(self),
                }
            }
        }
    };
}

numbers! {
    /// What a message asks for (RFC 6895, section 2.2).
    DnsOpcode(u8) other "OPCODE" {
        QUERY 0 "QUERY",
        INVERSE_QUERY 1 "IQUERY",
        STATUS 2 "STATUS",
        NOTIFY 4 "NOTIFY",
        UPDATE 5 "UPDATE",
        STATEFUL 6 "DSO",
    }
}

numbers! {
    /// What came of it (RFC 6895, section 2.3).
    DnsRcode(u16) other "RCODE" {
        NO_ERROR 0 "NOERROR",
        FORMAT_ERROR 1 "FORMERR",
        SERVER_FAILURE 2 "SERVFAIL",
        NAME_ERROR 3 "NXDOMAIN",
        NOT_IMPLEMENTED 4 "NOTIMP",
        REFUSED 5 "REFUSED",
        NAME_EXISTS 6 "YXDOMAIN",
        RECORDS_EXIST 7 "YXRRSET",
        RECORDS_DO_NOT_EXIST 8 "NXRRSET",
        NOT_AUTHORITATIVE 9 "NOTAUTH",
        NOT_IN_ZONE 10 "NOTZONE",
        STATEFUL_TYPE_NOT_IMPLEMENTED 11 "DSOTYPENI",
        BAD_VERSION 16 "BADVERS",
        BAD_KEY 17 "BADKEY",
        BAD_TIME 18 "BADTIME",
        BAD_MODE 19 "BADMODE",
        BAD_NAME 20 "BADNAME",
        BAD_ALGORITHM 21 "BADALG",
        BAD_TRUNCATION 22 "BADTRUNC",
        BAD_COOKIE 23 "BADCOOKIE",
    }
}

numbers! {
    /// A class of records (RFC 6895, section 3.2).
    DnsClass(u16) other "CLASS" {
        IN 1 "IN",
        CHAOS 3 "CH",
        HESIOD 4 "HS",
        NONE 254 "NONE",
        ANY 255 "ANY",
    }
}

numbers! {
    /// A type of records (RFC 6895, section 3.1).
    DnsType(u16) other "TYPE" {
        A 1 "A",
        NS 2 "NS",
        MD 3 "MD",
        MF 4 "MF",
        CNAME 5 "CNAME",
        SOA 6 "SOA",
        MB 7 "MB",
        MG 8 "MG",
        MR 9 "MR",
        NULL 10 "NULL",
        WKS 11 "WKS",
        PTR 12 "PTR",
        HINFO 13 "HINFO",
        MINFO 14 "MINFO",
        MX 15 "MX",
        TXT 16 "TXT",
        RP 17 "RP",
        AFSDB 18 "AFSDB",
        X25 19 "X25",
        ISDN 20 "ISDN",
        RT 21 "RT",
        NSAP 22 "NSAP",
        SIG 24 "SIG",
        KEY 25 "KEY",
        PX 26 "PX",
        AAAA 28 "AAAA",
        LOC 29 "LOC",
        SRV 33 "SRV",
        NAPTR 35 "NAPTR",
        KX 36 "KX",
        CERT 37 "CERT",
        DNAME 39 "DNAME",
        OPT 41 "OPT",
        APL 42 "APL",
        DS 43 "DS",
        SSHFP 44 "SSHFP",
        IPSECKEY 45 "IPSECKEY",
        RRSIG 46 "RRSIG",
        NSEC 47 "NSEC",
        DNSKEY 48 "DNSKEY",
        DHCID 49 "DHCID",
        NSEC3 50 "NSEC3",
        NSEC3PARAM 51 "NSEC3PARAM",
        TLSA 52 "TLSA",
        SMIMEA 53 "SMIMEA",
        HIP 55 "HIP",
        CDS 59 "CDS",
        CDNSKEY 60 "CDNSKEY",
        OPENPGPKEY 61 "OPENPGPKEY",
        CSYNC 62 "CSYNC",
        ZONEMD 63 "ZONEMD",
        SVCB 64 "SVCB",
        HTTPS 65 "HTTPS",
        SPF 99 "SPF",
        NID 104 "NID",
        L32 105 "L32",
        L64 106 "L64",
        LP 107 "LP",
        EUI48 108 "EUI48",
        EUI64 109 "EUI64",
        TKEY 249 "TKEY",
        TSIG 250 "TSIG",
        IXFR 251 "IXFR",
        AXFR 252 "AXFR",
        MAILB 253 "MAILB",
        ANY 255 "ANY",
        URI 256 "URI",
        CAA 257 "CAA",
        AVC 258 "AVC",
    }
}
