//! The nodes' protocol: whatever bytes come in whatever pieces, no frame is longer than one may be, and a message that is
//! understood is written so that it is understood alike, in frames that may be sent.

use ferrite_cluster::protocol::frame::{Decoder, FRAME_MAX_BYTES, framed};
use ferrite_cluster::protocol::{Follower, Message, decode, encode, encode_in_pieces};

/// Reads `data` as one message, and as a stream of frames: its first byte says in which pieces that comes.
pub(crate) fn check(data: &[u8]) {
    let mut follower = Follower::default();
    message(data, &mut follower);
    let Some((cut, stream)) = data.split_first() else { return };
    let mut decoder = Decoder::default();
    for piece in stream.chunks(usize::from(*cut).max(1)) {
        decoder.push(piece);
        loop {
            match decoder.next_message() {
                Ok(Some(found)) => {
                    assert!((1..=FRAME_MAX_BYTES).contains(&found.len()));
                    message(&found, &mut follower);
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
        assert!(decoder.left_bytes() <= stream.len());
    }
}

/// Fit for a log, whatever was refused.
fn sentence(field: &str, why: &str) {
    for text in [field, why] {
        assert!(!text.is_empty() && text.len() < 2000, "{} bytes", text.len());
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
}

fn message(data: &[u8], follower: &mut Follower) {
    let understood = match decode(data) {
        Ok(understood) => understood,
        Err(refused) => return sentence(&refused.field, &refused.why),
    };
    let again = encode(&understood).expect("it is written");
    assert_eq!(decode(&again).as_ref(), Ok(&understood), "{}", String::from_utf8_lossy(&again));
    for piece in encode_in_pieces(&understood).expect("it is written") {
        assert!(again.len() > FRAME_MAX_BYTES || piece == again);
        framed(&piece).expect("it is sent");
    }
    // Whatever the order, what a node follows is none the worse for it.
    match understood {
        Message::Assignment(snapshot) => drop(follower.assignment(snapshot)),
        Message::AssignmentDelta(delta) => drop(follower.assignment_delta(delta)),
        Message::Catalogue(snapshot) => drop(follower.catalogue(snapshot)),
        Message::CatalogueDelta(delta) => drop(follower.catalogue_delta(delta)),
        Message::Peers(piece) => drop(follower.peers(piece)),
        Message::Welcome(_) => follower.new_epoch(),
        _ => {}
    }
}
