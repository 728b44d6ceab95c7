//! From when until when a certificate is valid, and whether a clock is within that: a node whose certificate cannot be
//! used must say so with dates, since nobody can ask it any more.
//!
//! # Source
//! RFC 5280, section 4.1: `Certificate ::= SEQUENCE { SEQUENCE { [0] version, serial, algorithm, issuer, SEQUENCE { time,
//! time }, … } }`, in DER (X.690). Whether it may be trusted is rustls's to say.

use ferrite_schema::utc;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// serial, algorithm, issuer
const BEFORE_VALIDITY: usize = 3;

/// First and last second of a certificate's validity, as `YYYYMMDDHHMMSS`: such texts sort as the times do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Validity {
    not_before: String,
    not_after: String,
}

impl Validity {
    /// Reads it out of a certificate in DER; `None` where that is none.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let (tbs, _) = element(element(certificate, SEQUENCE)?.0, SEQUENCE)?;
        let mut rest = element(tbs, VERSION).map_or(tbs, |(_, rest)| rest);
        for _ in 0..BEFORE_VALIDITY {
            rest = element(rest, *rest.first()?)?.1;
        }
        let (validity, _) = element(rest, SEQUENCE)?;
        let (not_before, rest) = time(validity)?;
        let (not_after, _) = time(rest)?;
        Some(Self { not_before, not_after })
    }

    /// What is wrong with it at this time, in seconds since the epoch, for a person.
    pub(super) fn problem(&self, now_s: u64) -> Option<String> {
        let digits: String = utc::text(now_s).chars().filter(char::is_ascii_digit).collect();
        if (&*self.not_before..=&*self.not_after).contains(&&*digits) {
            return None;
        }
        Some(format!(
            "it is valid from {} to {}, and this node's clock says {}",
            words(&self.not_before),
            words(&self.not_after),
            utc::text(now_s)
        ))
    }
}

/// The content of the element with this tag at the start of `bytes`, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let [found, length, rest @ ..] = bytes else { return None };
    if *found != tag {
        return None;
    }
    let (length, rest) = match *length {
        short if short < 0x80 => (usize::from(short), rest),
        long => {
            let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            let add = |sum: usize, digit: &u8| {
                sum.checked_mul(256).and_then(|sum| sum.checked_add(usize::from(*digit)))
            };
            (digits.iter().try_fold(0, add)?, rest)
        }
    };
    rest.split_at_checked(length)
}

fn time(bytes: &[u8]) -> Option<(String, &[u8])> {
    let tag = *bytes.first()?;
    let (content, rest) = element(bytes, tag)?;
    let digits = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole = match tag {
        // Two digits of the year: 50 to 99 are of the last century.
        UTC_TIME if digits >= "50" => format!("19{digits}"),
        UTC_TIME => format!("20{digits}"),
        GENERALIZED_TIME => digits.to_owned(),
        _ => return None,
    };
    (whole.len() == "YYYYMMDDHHMMSS".len()).then_some((whole, rest))
}

fn words(digits: &str) -> String {
    let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or_default();
    let (date, clock) = ([part(0..4), part(4..6), part(6..8)], [part(8..10), part(10..12)]);
    format!("{} {} UTC", date.join("-"), clock.join(":"))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn validity(from: (i32, u8, u8), to: (i32, u8, u8)) -> Validity {
        let mut params = CertificateParams::new(["node".to_owned()]).unwrap();
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(to.0, to.1, to.2);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Validity::of(certificate.der()).unwrap()
    }

    #[test]
    fn both_forms_of_dates_are_read_and_said() {
        let known = validity((1970, 1, 1), (9999, 12, 31));
        for now_s in [0, 1_790_000_000, 4_070_908_800] {
            assert_eq!(known.problem(now_s), None);
        }
        let short = validity((2026, 9, 1), (2026, 12, 1));
        assert_eq!(short.problem(1_790_000_000), None);
        assert_eq!(
            short.problem(1_924_992_000).unwrap(),
            "it is valid from 2026-09-01 00:00 UTC to 2026-12-01 00:00 UTC, and this node's clock says 2031-01-01 \
             00:00:00 UTC"
        );
        assert!(short.problem(1_754_697_600).is_some());
    }

    #[test]
    fn what_is_no_certificate_has_no_validity() {
        for bytes in [
            &b""[..],
            b"\x30",
            b"\x30\x03\x30\x01",
            b"\x30\x84\xff\xff\xff\xff",
            &[0x30; 64],
            &[0xff; 64],
        ] {
            assert_eq!(Validity::of(bytes), None);
        }
    }
}
