//! The metadata address's answers: a document per path, or 404. As little of HTTP as its clients need: each connection
//! carries one request.

/// Longest head of a request.
const HEAD_MAX_BYTES: usize = 8 << 10;

/// What is due after what was heard.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// The rest of the request.
    More,
    /// This, and then the end of the connection.
    Reply(Vec<u8>),
}

/// Answers the request that begins what was heard, with the document that `find` has at its path.
pub(crate) fn answer(heard: &[u8], find: impl FnOnce(&str) -> Option<Vec<u8>>) -> Due {
    let end = heard.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let head = match end {
        Some(end) if end <= HEAD_MAX_BYTES => heard.get(..end).unwrap_or_default(),
        None if heard.len() <= HEAD_MAX_BYTES => return Due::More,
        Some(_) | None => return Due::Reply(reply("431 Request Header Fields Too Large", b"")),
    };
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let words: Vec<&str> = std::str::from_utf8(line).unwrap_or_default().split(' ').collect();
    Due::Reply(match words[..] {
        ["GET", path, "HTTP/1.0" | "HTTP/1.1"] => match find(path) {
            Some(document) => reply("200 OK", &document),
            None => reply("404 Not Found", b"there is no such document\n"),
        },
        [_, _, "HTTP/1.0" | "HTTP/1.1"] => reply("405 Method Not Allowed", b"only GET is\n"),
        _ => reply("400 Bad Request", b"this is no HTTP request\n"),
    })
}

fn reply(status: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(heard: &[u8], expected: Option<&str>) {
        let find = |path: &str| (path == "/there").then(|| b"document".to_vec());
        let status = match answer(heard, find) {
            Due::More => None,
            Due::Reply(reply) => Some(String::from_utf8(reply[9..12].to_vec()).unwrap()),
        };
        assert_eq!(status.as_deref(), expected, "{:?}", String::from_utf8_lossy(heard));
    }

    #[test]
    fn each_request_has_its_status() {
        check(b"", None);
        check(b"GET / HTTP/1.1\r\nHost: x\r\n", None);
        check(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", Some("404"));
        check(b"GET /there HTTP/1.0\r\n\r\nmore", Some("200"));
        check(b"PUT /there HTTP/1.1\r\n\r\n", Some("405"));
        check(b"GET /there HTTP/2\r\n\r\n", Some("400"));
        check(b"\r\n\r\n", Some("400"));
        check(b"\xff\xfe / HTTP/1.1\r\n\r\n", Some("400"));
        check(&[b'a'; HEAD_MAX_BYTES], None);
        check(&[b'a'; HEAD_MAX_BYTES + 1], Some("431"));
        let long = [&b"GET /"[..], &[b'a'; HEAD_MAX_BYTES], b" HTTP/1.1\r\n\r\n"].concat();
        check(&long, Some("431"));
    }

    proptest! {
        #[test]
        fn rubbish_is_answered_shortly_or_waited_for(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let due = answer(&[&bytes[..], b"\r\n\r\n"].concat(), |_| None);
            prop_assert!(matches!(due, Due::Reply(reply) if reply.len() < 300));
            let due = answer(&bytes, |_| None);
            prop_assert!(due == Due::More || bytes.windows(4).any(|four| four == b"\r\n\r\n"));
        }
    }
}
