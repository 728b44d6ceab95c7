//! What a person is told of an error.

use std::error::Error;

/// An error and its causes in one line: `a: b: c`, each cause once. libcontainer's transparent errors, for one, repeat what
/// was said already.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("open the door")]
    struct Outer(#[source] Middle);

    #[derive(Debug, thiserror::Error)]
    #[error("turn the key: it broke")]
    struct Middle(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("it broke")]
    struct Inner;

    #[test]
    fn each_cause_is_said_once() {
        assert_eq!(chain(&Outer(Middle(Inner))), "open the door: turn the key: it broke");
    }
}
