//! Registries that want to be left alone for a while.

use super::*;

/// A status with `Retry-After` and `Date`, where they are given.
fn busy(code: u16, retry: Option<&str>, date: Option<&str>) -> Answer {
    let mut answer = status(code);
    for (name, text) in [(header::RETRY_AFTER, retry), (header::DATE, date)] {
        if let Some(text) = text {
            answer.headers_mut().insert(name, text.parse().unwrap());
        }
    }
    answer
}

/// A registry that answers the first request whose path holds `at` with something else, and a count of all requests.
async fn once(at: &'static str, other: fn() -> Answer) -> (Server, Arc<AtomicUsize>) {
    let (made, count, done) = (Made::new(), Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let server = Server::start(move |asked| {
        counted.fetch_add(1, Ordering::Relaxed);
        let is_first = asked.path.contains(at) && done.fetch_add(1, Ordering::Relaxed) == 0;
        if is_first { other() } else { made.answer(asked) }
    })
    .await;
    (server, count)
}

#[tokio::test]
async fn whoever_wants_a_moment_gets_it() {
    const DATE: &str = "Mon, 30 Nov 2026 08:00:00 GMT";
    const NEXT: &str = "Mon, 30 Nov 2026 08:00:01 GMT";
    let answers: [fn() -> Answer; 3] = [
        || busy(429, Some("1"), None),
        || busy(503, Some(NEXT), Some(DATE)),
        || busy(403, Some("1"), None),
    ];
    for at in ["/manifests/", "/blobs/"] {
        for other in answers {
            let (server, count) = once(at, other).await;
            let begun = std::time::Instant::now();
            node(&[(&server, plain())]).pull(&server).await.unwrap();
            assert!(begun.elapsed().as_millis() >= 950, "{at}: {:?}", begun.elapsed());
            assert_eq!(count.load(Ordering::Relaxed), 4, "{at}");
        }
    }
    // A date that is over asks for nothing.
    let (server, count) = once("/blobs/", || busy(429, Some(DATE), Some(NEXT))).await;
    node(&[(&server, plain())]).pull(&server).await.unwrap();
    assert_eq!(count.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn whoever_wants_to_be_left_alone_is_not_asked_again() {
    let answers: [fn() -> Answer; 4] = [
        || busy(429, Some("21600"), None),
        || busy(429, Some("Fri, 30 Nov 2096 08:00:00 GMT"), None),
        || busy(429, Some("99999999999"), None),
        || busy(403, Some("60"), None),
    ];
    for other in answers {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let server = Server::start(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            other()
        })
        .await;
        let node = node(&[(&server, plain())]);
        node.fails(&server, "(manifest unknown): its rate limit is reached, and it wants").await;
        // Neither another pull nor another image of the same server.
        node.fails(&server, "its rate limit is reached, and it wants to be left alone until").await;
        let error = node.puller.pull(&format!("{}/x:1", server.authority)).await.unwrap_err();
        assert!(ferrite_schema::chain(&error).contains(" UTC"), "{error:?}");
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }
    let server = Server::start(|_| busy(503, Some("60"), None)).await;
    let node = node(&[(&server, plain())]);
    node.fails(&server, "503 Service Unavailable (manifest unknown): it wants to be left").await;
}

#[tokio::test]
async fn a_limit_without_a_time_is_called_so() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let server = Server::start(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        busy(429, None, None)
    })
    .await;
    node(&[(&server, plain())]).fails(&server, "): its rate limit is reached").await;
    assert_eq!(count.load(Ordering::Relaxed), 5);
}

#[tokio::test]
async fn a_token_service_may_want_to_be_left_alone_too() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let tokens = Server::start(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        busy(403, Some("3600"), None)
    })
    .await;
    let realm = format!(r#"Bearer realm="http://{}/token""#, tokens.authority);
    let server = Server::start(move |_| {
        let mut answer = status(401);
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, realm.parse().unwrap());
        answer
    })
    .await;
    let node = node(&[(&server, known("user", "secret")), (&tokens, plain())]);
    for _ in 0..3 {
        node.fails(&server, "its rate limit is reached, and it wants to be left alone").await;
    }
    assert_eq!(count.load(Ordering::Relaxed), 1);
}
