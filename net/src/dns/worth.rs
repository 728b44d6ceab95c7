//! What the messages of name servers are worth: an answer ends the search, a failure leads to the next server.
//!
//! # Source
//! RFC 1035 sections 4.1.1 and 7.2, RFC 6672 section 2.2

use super::message::{
    AUTHORITATIVE, HEADER_BYTES, Query, RECURSION_AVAILABLE, RESPONSE, TRUNCATED, number,
};

/// Bits of the flags that say how it went, and what they say.
const CODE: u16 = 0x000f;
const NO_ERROR: u16 = 0;
const SERVER_FAILED: u16 = 2;
const NO_SUCH_NAME: u16 = 3;
const TOO_LONG_ALIAS: u16 = 6;

/// What a server's message is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worth {
    /// It is the answer, also where that is that there is nothing.
    Answer,
    /// This server does not say, and another one may. Where that `lasts`, it will not say a moment later either.
    Failure { lasts: bool },
}

impl Query {
    /// What `message` is worth to who asked this question under `id`; nothing where it answers something else.
    pub(super) fn worth(&self, message: &[u8], id: u16) -> Option<Worth> {
        let flags = number(message, 2)?;
        if number(message, 0) != Some(id) || flags & RESPONSE == 0 {
            return None;
        }
        let end = HEADER_BYTES + self.question.len();
        let same = |question: &[u8]| question.eq_ignore_ascii_case(&self.question);
        match number(message, 4)? {
            // Who could not read the question may leave it out. That is no answer, whatever else it says: of what is
            // asked it bears only the number.
            0 => Some(Worth::Failure { lasts: flags & CODE != SERVER_FAILED }),
            1 if message.get(HEADER_BYTES..end).is_some_and(same) => {
                let answers = number(message, 6)?;
                Some(worth(flags, answers))
            }
            _ => None,
        }
    }

    /// A failure as a client reads it: with its question.
    pub(super) fn failure(&self, message: &[u8]) -> Vec<u8> {
        if number(message, 4) != Some(0) {
            return message.to_vec();
        }
        let flags = number(message, 2).unwrap_or(0);
        let flags = if flags & CODE == 0 { flags | SERVER_FAILED } else { flags };
        self.bare(flags & !TRUNCATED)
    }

    /// An answer that was too long to be read: it says so, and the client asks over a connection.
    pub(super) fn too_long(&self, message: &[u8]) -> Vec<u8> {
        self.bare(number(message, 2).unwrap_or(RESPONSE) | TRUNCATED)
    }

    /// A message with these flags and this question, and nothing else.
    fn bare(&self, flags: u16) -> Vec<u8> {
        let header = [self.id, flags, 1, 0, 0, 0].map(u16::to_be_bytes).concat();
        [&header[..], &self.question].concat()
    }
}

/// Of the ways to say something, those that are about the name: it exists, it does not, or its alias is too long. All others
/// are about the server. One that says nothing of the name, and neither owns it nor asks others for its clients, is a server
/// for something else.
const fn worth(flags: u16, answers: u16) -> Worth {
    const SAYS: u16 = AUTHORITATIVE | RECURSION_AVAILABLE | TRUNCATED;
    match flags & CODE {
        NO_ERROR if answers == 0 && flags & SAYS == 0 => Worth::Failure { lasts: true },
        NO_ERROR | NO_SUCH_NAME | TOO_LONG_ALIAS => Worth::Answer,
        code => Worth::Failure { lasts: code != SERVER_FAILED },
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{A, ask, parse};
    use super::*;

    /// A message with these flags and numbers of records, and the question or none.
    fn message(flags: u16, questions: u16, answers: u16) -> Vec<u8> {
        let header = [7, flags | RESPONSE, questions, answers, 0, 0].map(u16::to_be_bytes);
        let question = &ask(7, "a.b", A)[HEADER_BYTES..];
        [&header.concat()[..], if questions == 0 { &[] } else { question }].concat()
    }

    #[test]
    fn what_is_about_the_name_is_an_answer_and_what_is_about_the_server_none() {
        let query = parse(&ask(7, "a.b", A)).unwrap();
        let check = |flags, answers, expected| {
            let found = query.worth(&message(flags, 1, answers), 7);
            assert_eq!(found, Some(expected), "{flags:x} with {answers}");
        };
        for named in [NO_ERROR, NO_SUCH_NAME, TOO_LONG_ALIAS] {
            check(RECURSION_AVAILABLE | named, 0, Worth::Answer);
            check(AUTHORITATIVE | named, 0, Worth::Answer);
            check(named, 1, Worth::Answer);
        }
        for code in [1, 4, 5, 7, 8, 9, 10, 11, 15] {
            check(RECURSION_AVAILABLE | code, 0, Worth::Failure { lasts: true });
        }
        check(RECURSION_AVAILABLE | SERVER_FAILED, 0, Worth::Failure { lasts: false });
        check(NO_ERROR, 0, Worth::Failure { lasts: true });
        check(TRUNCATED, 0, Worth::Answer);
        check(NO_SUCH_NAME, 0, Worth::Answer);
        let bare = |flags| query.worth(&message(flags, 0, 0), 7);
        assert_eq!(bare(1), Some(Worth::Failure { lasts: true }));
        assert_eq!(bare(2), Some(Worth::Failure { lasts: false }));
        assert_eq!(bare(0), Some(Worth::Failure { lasts: true }), "it does not say to what");
        assert_eq!(query.worth(&message(1, 0, 0), 8), None);
        assert_eq!(query.worth(&message(1, 0, 0)[..9], 7), Some(Worth::Failure { lasts: true }));
        assert_eq!(query.worth(&message(1, 2, 0), 7), None);
    }

    #[test]
    fn a_client_hears_a_failure_with_its_question() {
        let query = parse(&ask(7, "a.b", A)).unwrap();
        for (said, heard) in [(1, 1), (0, SERVER_FAILED), (TRUNCATED | 4, 4)] {
            assert_eq!(query.failure(&message(said, 0, 0)), message(heard, 1, 0));
        }
        let whole = message(RECURSION_AVAILABLE | 5, 1, 0);
        assert_eq!(query.failure(&whole), whole);
        let cut = query.too_long(&message(RECURSION_AVAILABLE, 1, 9));
        assert_eq!(cut, message(RECURSION_AVAILABLE | TRUNCATED, 1, 0));
    }
}
