//! Registries and those they send us to, each with a token service of its own.

use super::*;

/// What a server was sent as `Authorization`.
type Seen = Arc<Mutex<Vec<String>>>;

fn note(seen: &Seen, asked: &Asked) {
    seen.lock().unwrap().extend(asked.authorization.clone());
}

fn wants(challenge: &str) -> Answer {
    let mut answer = status(401);
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge.parse().unwrap());
    answer
}

/// A token service that gives `answer` to whoever comes.
async fn service(answer: &'static str, seen: &Seen) -> Server {
    let seen = Arc::clone(seen);
    Server::start(move |asked| {
        note(&seen, asked);
        match asked.path.contains("scope=repository%3Ateam%2Fapp%3Apull") {
            true => Response::new(Full::from(answer)),
            false => status(400),
        }
    })
    .await
}

#[tokio::test]
async fn a_token_may_stand_under_either_name() {
    for (answer, expected) in [
        (r#"{"token":"","access_token":"t"}"#, None),
        (r#"{"token":null,"access_token":"t"}"#, None),
        (r#"{"access_token":"t","expires_in":60}"#, None),
        (r#"{"token":"t","access_token":""}"#, None),
        (r#"{"token":"t","access_token":"other"}"#, None),
        (r#"{"token":"two words","access_token":"t"}"#, None),
        (r#"{"token":"","access_token":""}"#, Some("answers without a token")),
        ("{}", Some("answers without a token")),
    ] {
        let seen = Seen::default();
        let tokens = service(answer, &seen).await;
        let (made, realm) = (Made::new(), tokens.authority.clone());
        let server = Server::start(move |asked| match asked.authorization.as_deref() {
            Some("Bearer t") => made.answer(asked),
            _ => wants(&format!(r#"Bearer realm="http://{realm}/token""#)),
        })
        .await;
        let node = node(&[(&server, plain()), (&tokens, plain())]);
        match expected {
            None => drop(node.pull(&server).await.unwrap()),
            Some(expected) => node.fails(&server, expected).await,
        }
    }
}

/// A registry, another that it sends us to for blobs, and their token services, all of which note what they are sent.
struct Two {
    first: Server,
    second: Server,
    services: [Server; 2],
    seen: [Seen; 4],
}

impl Two {
    /// `challenge` is what the second one wants of whoever has not got `right`.
    async fn start(challenge: &'static str, right: &'static str) -> Self {
        let seen: [Seen; 4] = std::array::from_fn(|_| Seen::default());
        let services = [
            service(r#"{"token":"a"}"#, &seen[2]).await,
            service(r#"{"token":"b"}"#, &seen[3]).await,
        ];
        let made = Made::new();
        let (blobs, noted) = (made.clone(), Arc::clone(&seen[1]));
        let challenge = challenge.replace("REALM", &format!("http://{}/x", services[1].authority));
        let second = Server::start(move |asked| {
            note(&noted, asked);
            if asked.authorization.as_deref() == Some(right) {
                blobs.answer(asked)
            } else {
                wants(&challenge)
            }
        })
        .await;
        let (noted, to) = (Arc::clone(&seen[0]), second.authority.clone());
        let realm = format!(r#"Bearer realm="http://{}/x""#, services[0].authority);
        let first = Server::start(move |asked| {
            note(&noted, asked);
            match (asked.authorization.as_deref(), asked.path.contains("/blobs/")) {
                (Some("Bearer a"), true) => {
                    let location = format!("http://{to}{}", asked.path);
                    let answer = Response::builder().status(307).header(header::LOCATION, location);
                    answer.body(Full::default()).unwrap()
                }
                (Some("Bearer a"), false) => made.answer(asked),
                _ => wants(&realm),
            }
        })
        .await;
        Self { first, second, services, seen }
    }

    fn node(&self, second: RegistryConfig) -> Node {
        let [one, other] = &self.services;
        node(&[
            (&self.first, known("user", "secret")),
            (&self.second, second),
            (one, plain()),
            (other, plain()),
        ])
    }

    /// What each of them was sent: the registries first, then their services.
    fn seen(&self) -> [Vec<String>; 4] {
        std::array::from_fn(|index| {
            let mut seen = self.seen[index].lock().unwrap().clone();
            seen.sort_unstable();
            seen.dedup();
            seen
        })
    }
}

const USER: &str = "Basic dXNlcjpzZWNyZXQ=";
const OTHER: &str = "Basic b3RoZXI6cGFzcw==";

#[tokio::test]
async fn a_second_registry_gets_a_token_of_its_own_and_nothing_of_the_firsts() {
    let two = Two::start(r#"Bearer realm="REALM",service="b""#, "Bearer b").await;
    two.node(plain()).pull(&two.first).await.unwrap();
    assert_eq!(two.seen(), [vec!["Bearer a"], vec!["Bearer b"], vec![USER], vec![]]);
    // Its own user goes to its own service.
    let two = Two::start(r#"Bearer realm="REALM""#, "Bearer b").await;
    two.node(known("other", "pass")).pull(&two.first).await.unwrap();
    assert_eq!(two.seen(), [vec!["Bearer a"], vec!["Bearer b"], vec![USER], vec![OTHER]]);
    let two = Two::start(r#"Basic realm="x""#, OTHER).await;
    two.node(known("other", "pass")).pull(&two.first).await.unwrap();
    assert_eq!(two.seen(), [vec!["Bearer a"], vec![OTHER], vec![USER], vec![]]);
}

#[tokio::test]
async fn a_second_registry_that_is_not_convinced_is_named() {
    for (challenge, right) in [(r#"Bearer realm="REALM""#, "nothing"), (r#"Basic realm="x""#, USER)]
    {
        let two = Two::start(challenge, right).await;
        let expected = format!("log in to http://{}: it wants a user", two.second.authority);
        two.node(plain()).fails(&two.first, &expected).await;
        assert!(!two.seen()[1].contains(&USER.to_owned()));
    }
}
