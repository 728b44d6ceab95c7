//! Shell patterns as `modules.alias` uses them: `*`, `?` and `[…]`.

/// `text` matches `pattern` as a whole. An unclosed `[` matches itself.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    matches_bytes(pattern.as_bytes(), text.as_bytes())
}

/// Where the last `*` was, and how much of the text it has swallowed: going back there is the only
/// backtracking that these patterns need, so the time is at most pattern × text.
struct Star<'bytes> {
    pattern: &'bytes [u8],
    text: &'bytes [u8],
}

fn matches_bytes<'bytes>(mut pattern: &'bytes [u8], mut text: &'bytes [u8]) -> bool {
    let mut star: Option<Star<'bytes>> = None;
    loop {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => return true,
            (Some((b'*', rest)), _) => {
                star = Some(Star { pattern: rest, text });
                pattern = rest;
                continue;
            }
            (Some(_), Some((byte, text_rest))) => {
                if let Some(pattern_rest) = matches_one(pattern, *byte) {
                    (pattern, text) = (pattern_rest, text_rest);
                    continue;
                }
            }
            (None, Some(_)) | (Some(_), None) => {}
        }
        let Some(Star { pattern: after_star, text: swallowed }) = star else { return false };
        let Some((_, rest)) = swallowed.split_first() else { return false };
        (pattern, text) = (after_star, rest);
        star = Some(Star { pattern, text });
    }
}

/// Matches the first element of the pattern against one byte; returns the pattern after it.
fn matches_one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let (first, rest) = pattern.split_first()?;
    match first {
        b'?' => Some(rest),
        b'[' => match split_set(rest) {
            Some((set, rest)) => in_set(set, byte).then_some(rest),
            None => (byte == b'[').then_some(rest),
        },
        literal => (*literal == byte).then_some(rest),
    }
}

/// Splits behind `[`: the set up to `]`, and what follows. A `]` directly after `[` or `[!` is a member.
fn split_set(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let negation = usize::from(matches!(bytes.first(), Some(b'!' | b'^')));
    let close = bytes.iter().skip(negation + 1).position(|byte| *byte == b']')? + negation + 1;
    Some((bytes.get(..close)?, bytes.get(close + 1..)?))
}

fn in_set(set: &[u8], byte: u8) -> bool {
    let (negated, mut members) = match set.split_first() {
        Some((b'!' | b'^', rest)) => (true, rest),
        Some(_) | None => (false, set),
    };
    let mut found = false;
    while let Some((low, rest)) = members.split_first() {
        if let [b'-', high, after @ ..] = rest {
            found |= (low..=high).contains(&&byte);
            members = after;
        } else {
            found |= *low == byte;
            members = rest;
        }
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_of_modules_alias() {
        let check = |pattern, text, expected| {
            assert_eq!(matches(pattern, text), expected, "{pattern} against {text}");
        };
        check("virtio:d00000002v*", "virtio:d00000002v00001AF4", true);
        check("virtio:d00000002v*", "virtio:d00000001v00001AF4", false);
        check("pci:v*d*sv*sd*bc01sc08i02*", "pci:v00001B36d00000010sv1sd2bc01sc08i02", true);
        check("pci:v*d*sv*sd*bc01sc08i02*", "pci:v00001B36d00000010sv1sd2bc01sc06i01", false);
        check(
            "cpu:type:x86,ven*fam*mod*:feature:*0099*",
            "cpu:type:x86,ven0000fam0006mod0003:feature:,0000,0099,00A0",
            true,
        );
        check(
            "usb:v0421p0508d*dc*dsc*dp*ic02isc08ip00in*",
            "usb:v0421p0508d1dc2dsc3dp4ic02isc08ip00in00",
            true,
        );
        check(
            "usb:v*p*d*dc*dsc*dp*ic08isc0[1-5]ip*in*",
            "usb:v1p1d1dc1dsc1dp1ic08isc06ip50in00",
            false,
        );
        check(
            "usb:v*p*d*dc*dsc*dp*ic08isc0[1-5]ip*in*",
            "usb:v1p1d1dc1dsc1dp1ic08isc05ip50in00",
            true,
        );
        check("acpi*:QEMU0002:*", "acpi:QEMU0002:", true);
        check("fs-erofs", "fs-erofs", true);
        check("fs-erofs", "fs-erofs2", false);
    }

    #[test]
    fn sets_and_edges() {
        let check = |pattern, text, expected| {
            assert_eq!(matches(pattern, text), expected, "{pattern} against {text}");
        };
        check("", "", true);
        check("", "a", false);
        check("*", "", true);
        check("**a", "bba", true);
        check("a?c", "abc", true);
        check("a?c", "ac", false);
        check("[]a]", "]", true);
        check("[!a-c]", "b", false);
        check("[!a-c]", "d", true);
        check("[a-]", "-", true);
        check("[ab", "[ab", true);
    }

    proptest! {
        #[test]
        fn a_text_without_special_characters_matches_exactly_itself(text in "[a-z:0-9]{0,12}", other in "[a-z:0-9]{0,12}") {
            prop_assert!(matches(&text, &text));
            prop_assert_eq!(matches(&text, &other), text == other);
        }

        #[test]
        fn a_star_swallows_any_middle(head in "[a-z]{0,5}", middle in ".{0,8}", tail in "[a-z]{0,5}") {
            let pattern = format!("{head}*{tail}");
            let text = format!("{head}{middle}{tail}");
            prop_assert!(matches(&pattern, &text));
        }

        #[test]
        fn any_bytes_end(pattern in ".{0,24}", text in ".{0,24}") {
            prop_assert_eq!(matches(&pattern, &text), matches(&pattern, &text));
        }
    }
}
