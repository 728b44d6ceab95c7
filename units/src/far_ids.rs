//! What stands on the node for a unit's user and group IDs beyond those of its range.
//!
//! Images have files of users 100011 or 1000680000, whatever made them. Every ID of a container needs one of its own on the node,
//! that no other unit has; so a unit with such an image has a second range, in which the IDs that it needs stand in a row.

use ferrite_schema::shim::{IdRange, IdStretch};
use ferrite_store::far_ids::FarIds;

/// A unit needs more IDs than it can have.
#[derive(Debug, thiserror::Error)]
#[error(
    "give the unit the IDs beyond 65535 that files of image {image} belong to: there are more than a second range of {most} in 100 stretches holds; build the image with fewer of them, or say in `host_user_namespace` why it must share the node's"
)]
pub struct TooMany {
    /// Reference.
    image: String,
    most: u32,
}

/// The IDs that a user named by numbers needs, where one is beyond a range; names are the image's to say.
pub(crate) fn of_user(user: &str, far: &mut FarIds) {
    for id in user.split(':').filter_map(|part| part.parse().ok()) {
        far.add(id);
    }
}

/// Places in `range`, one after the other.
pub(crate) fn places(image: &str, far: &FarIds, range: IdRange) -> Result<Vec<IdStretch>, TooMany> {
    let too_many = || TooMany { image: image.to_owned(), most: range.count };
    let (mut places, mut used) = (Vec::new(), 0_u32);
    for (inside, last) in far.stretches().map_err(|_many| too_many())? {
        let count = last - inside + 1;
        if count > range.count - used {
            return Err(too_many());
        }
        places.push(IdStretch { inside: *inside, first: range.first + used, count });
        used += count;
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: IdRange = IdRange { first: 40 << 16, count: 1 << 16 };

    fn far(text: &str) -> FarIds {
        text.parse().unwrap()
    }

    #[test]
    fn each_id_has_a_place_and_no_two_the_same() {
        let found = places("i", &far("100000-100002 431982 4294967294"), RANGE).unwrap();
        let found: Vec<_> =
            found.iter().map(|at| (at.inside, at.first - RANGE.first, at.count)).collect();
        assert_eq!(found, [(100_000, 0, 3), (431_982, 3, 1), (4_294_967_294, 4, 1)]);
        let all = places("i", &far("100000-165535"), RANGE).unwrap();
        assert_eq!((all[0].first, all[0].count), (RANGE.first, 1 << 16));
    }

    #[test]
    fn more_than_fit_are_refused_with_the_image() {
        for text in ["100000-165536", "100000-165535 200000", "65536-4294967294", "many"] {
            let problem = places("team/app", &far(text), RANGE).unwrap_err().to_string();
            assert!(
                problem.contains("files of image team/app") && problem.contains("65536 in 100"),
                "{problem}"
            );
        }
    }

    #[test]
    fn users_by_number_are_among_them() {
        for (user, expected) in [
            ("", ""),
            ("web", ""),
            ("1000:70000", "70000"),
            ("1000680000", "1000680000"),
            ("100000:100001", "100000-100001"),
            ("web:4294967295", ""),
        ] {
            let mut far = FarIds::default();
            of_user(user, &mut far);
            assert_eq!(far.to_string(), expected, "{user}");
        }
    }
}
