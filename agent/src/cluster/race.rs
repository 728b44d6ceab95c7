//! Tries several ways beside one another, each begun a little after the one before (RFC 8305 section 5): one that leads
//! nowhere costs that little, and not all that it would take to fail.

use std::collections::VecDeque;
use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

/// How closely they follow one another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// The next begins so much after the one before, or as soon as one has failed.
    pub(super) apart: Duration,
    /// Most at once.
    pub(super) at_once: usize,
}

/// The first of `waiting` that `begin` leads somewhere, with where; nothing where none does. It is taken out of `waiting`, and so is
/// each that has failed, which `failed` is told; those whose outcome is not known are there again, first.
pub(super) async fn first<W, T, E, F>(
    waiting: &mut VecDeque<W>,
    pace: Pace,
    begin: impl Fn(W) -> F,
    mut failed: impl FnMut(W, E),
) -> Option<(W, T)>
where
    W: Clone + PartialEq,
    F: Future<Output = Result<T, E>>,
{
    let mut begun = FuturesUnordered::new();
    let mut open: Vec<W> = Vec::new();
    let mut next_at = Instant::now();
    loop {
        let may = !waiting.is_empty() && begun.len() < pace.at_once.max(1);
        if !may && begun.is_empty() {
            return None;
        }
        tokio::select! {
            Some((way, outcome)) = begun.next() => {
                let way: W = way;
                open.retain(|one| *one != way);
                match outcome {
                    Ok(there) => {
                        for way in open.into_iter().rev() {
                            waiting.push_front(way);
                        }
                        return Some((way, there));
                    }
                    Err(why) => failed(way, why),
                }
                next_at = Instant::now();
            }
            () = tokio::time::sleep_until(next_at), if may => {
                if let Some(way) = waiting.pop_front() {
                    open.push(way.clone());
                    let outcome = begin(way.clone());
                    begun.push(async move { (way, outcome.await) });
                }
                next_at = Instant::now() + pace.apart;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::future::{pending, ready};

    use futures_util::future::Either;

    use super::*;

    /// What a test waits for at most.
    const PATIENCE: Duration = Duration::from_secs(60);
    /// Longer than any test takes, and hardly anything.
    const NEVER: Duration = Duration::from_secs(3600);
    const SOON: Duration = Duration::from_millis(1);

    type Outcome =
        Either<std::future::Pending<Result<u32, ()>>, std::future::Ready<Result<u32, ()>>>;

    /// Way 1 is silent, 2 fails, 3 leads somewhere.
    fn outcome(way: u32) -> Outcome {
        match way {
            1 => Either::Left(pending()),
            2 => Either::Right(ready(Err(()))),
            _ => Either::Right(ready(Ok(way * 10))),
        }
    }

    struct Ran {
        found: Option<(u32, u32)>,
        begun: Vec<u32>,
        failed: Vec<u32>,
        left: Vec<u32>,
    }

    async fn run(ways: &[u32], apart: Duration, at_once: usize) -> Ran {
        let (begun, mut failed) = (RefCell::new(Vec::new()), Vec::new());
        let mut waiting: VecDeque<u32> = ways.iter().copied().collect();
        let begin = |way| {
            begun.borrow_mut().push(way);
            outcome(way)
        };
        let raced = first(&mut waiting, Pace { apart, at_once }, begin, |way, ()| failed.push(way));
        let found = tokio::time::timeout(PATIENCE, raced).await.expect("it ends");
        Ran { found, begun: begun.into_inner(), failed, left: waiting.into() }
    }

    #[tokio::test]
    async fn a_silent_way_costs_no_more_than_the_pause_and_is_there_again_for_later() {
        let ran = run(&[1, 3, 4], SOON, 4).await;
        assert_eq!((ran.found, ran.begun), (Some((3, 30)), vec![1, 3]));
        assert_eq!(ran.left, [1, 4]);
    }

    #[tokio::test]
    async fn the_next_begins_at_once_where_one_has_failed_and_not_before() {
        let ran = run(&[2, 2, 3, 4], NEVER, 4).await;
        assert_eq!((ran.found, ran.begun), (Some((3, 30)), vec![2, 2, 3]));
        assert_eq!((ran.failed, ran.left), (vec![2, 2], vec![4]));
    }

    #[tokio::test]
    async fn where_all_fail_nobody_is_found_and_each_was_told() {
        let ran = run(&[2, 2, 2], SOON, 2).await;
        assert!(ran.found.is_none() && ran.left.is_empty());
        assert_eq!(ran.failed.len(), 3);
        assert!(run(&[], SOON, 2).await.found.is_none());
    }

    #[tokio::test]
    async fn no_more_are_under_way_than_may_be() {
        let (under_way, most) = (Cell::new(0), Cell::new(0));
        // Nobody ends before three have begun.
        let begun = tokio::sync::watch::Sender::new(0);
        let mut waiting: VecDeque<u32> = (0..32).collect();
        let begin = async |_| {
            under_way.set(under_way.get() + 1);
            most.set(most.get().max(under_way.get()));
            begun.send_modify(|count| *count += 1);
            drop(begun.subscribe().wait_for(|count| *count >= 3).await);
            under_way.set(under_way.get() - 1);
            Err::<(), ()>(())
        };
        let pace = Pace { apart: Duration::ZERO, at_once: 3 };
        assert!(first(&mut waiting, pace, begin, |_, ()| {}).await.is_none());
        assert_eq!((under_way.get(), most.get()), (0, 3));
    }
}
