//! What a name means is asked for at each start, or never.

use std::sync::Mutex;
use std::time::Duration;

use ferrite_schema::unit::PullPolicy;

use super::*;
use crate::pull::Brought;

/// What a registry does, as a test goes on.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    /// It has the first image.
    First,
    /// It has the second one under the same name.
    Second,
    /// It says that it has the second one, and then gives nothing.
    SecondWithoutLayers,
    /// It answers the status to everything.
    Status(u16),
}

/// A registry whose mood changes, and everything that it was asked for: the method, and the end of the path.
struct Moody {
    server: Server,
    mood: Arc<Mutex<Mood>>,
    asked: Arc<Mutex<Vec<String>>>,
    images: [Made; 2],
}

impl Moody {
    /// `says`: it answers `HEAD` with the digest.
    async fn start(says: bool) -> Self {
        let first = Made::new();
        let mut second = first.clone();
        // Another configuration, and so another manifest, over the same layer.
        second.config = [&first.config[..], b"\n"].concat();
        let replaced = |text: &[u8], from: &str, to: &str| {
            String::from_utf8(text.to_vec()).unwrap().replace(from, to).into_bytes()
        };
        let size = |made: &Made| format!("\"size\":{}}},\n", made.config.len());
        let digest = |made: &Made| Digest::of(&made.config).to_string();
        second.manifest = replaced(&first.manifest, &digest(&first), &digest(&second));
        second.manifest = replaced(&second.manifest, &size(&first), &size(&second));
        let images = [first, second];
        let mood = Arc::new(Mutex::new(Mood::First));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (own_mood, own_asked, own) = (Arc::clone(&mood), Arc::clone(&asked), images.clone());
        let server = Server::start(move |asked| {
            let what = asked.path.rsplit("/app/").next().unwrap().to_owned();
            own_asked.lock().unwrap().push(format!("{} {what}", asked.method));
            let made = match *own_mood.lock().unwrap() {
                Mood::First => &own[0],
                Mood::Second => &own[1],
                Mood::SecondWithoutLayers if what.starts_with("manifests/") => &own[1],
                Mood::SecondWithoutLayers => return status(503),
                Mood::Status(code) => return status(code),
            };
            let mut answer = made.answer(asked);
            if says && what.starts_with("manifests/") {
                let digest = Digest::of(&made.manifest).to_string();
                answer.headers_mut().insert("docker-content-digest", digest.parse().unwrap());
            }
            answer
        });
        Self { server: server.await, mood, asked, images }
    }

    fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
        self.asked.lock().unwrap().clear();
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn name(&self) -> String {
        format!("{}/team/app:1", self.server.authority)
    }

    fn digest(&self, index: usize) -> String {
        Digest::of(&self.images[index].manifest).to_string()
    }
}

/// Longer than the tries of one request take.
const WITHIN: Duration = Duration::from_secs(8);

/// The digest of what was brought, and why its registry did not say.
async fn bring(node: &Node, name: &str, policy: PullPolicy) -> Result<(String, String), String> {
    match node.puller.bring(name, policy).await {
        Ok(Brought::AsAsked(record)) => Ok((record.manifest, String::new())),
        Ok(Brought::Unasked { record, why }) => Ok((record.manifest, why)),
        Err(error) => Err(ferrite_schema::chain(&error)),
    }
}

#[tokio::test]
async fn what_has_not_changed_is_asked_for_in_one_request_and_not_downloaded() {
    let registry = Moody::start(true).await;
    let (node, name) = (node(&[(&registry.server, plain())]), registry.name());
    let (first, second) = (registry.digest(0), registry.digest(1));
    assert_ne!(first, second);
    let always = || bring(&node, &name, PullPolicy::Always);
    assert_eq!(always().await, Ok((first.clone(), String::new())));
    registry.is(Mood::First);
    assert_eq!(always().await, Ok((first, String::new())));
    assert_eq!(registry.asked(), ["HEAD manifests/1"]);
    // What is new of another image is all that comes.
    registry.is(Mood::Second);
    assert_eq!(always().await, Ok((second.clone(), String::new())));
    let config = format!("GET blobs/{}", Digest::of(&registry.images[1].config));
    assert_eq!(registry.asked(), ["HEAD manifests/1", "GET manifests/1", &config]);
    registry.is(Mood::First);
    assert_eq!(bring(&node, &name, PullPolicy::Missing).await, Ok((second, String::new())));
    assert_eq!(registry.asked(), [""; 0]);
}

#[tokio::test]
async fn a_registry_that_does_not_say_the_digest_before_the_content_is_asked_for_that() {
    let registry = Moody::start(false).await;
    let (node, name) = (node(&[(&registry.server, plain())]), registry.name());
    let first = registry.digest(0);
    for _ in 0..2 {
        registry.is(Mood::First);
        let brought = bring(&node, &name, PullPolicy::Always).await;
        assert_eq!(brought, Ok((first.clone(), String::new())));
    }
    assert_eq!(registry.asked(), ["HEAD manifests/1", "GET manifests/1"]);
    registry.is(Mood::Second);
    assert_eq!(
        bring(&node, &name, PullPolicy::Always).await,
        Ok((registry.digest(1), String::new()))
    );
}

#[tokio::test]
async fn a_registry_that_does_not_answer_keeps_nothing_from_starting_that_is_here() {
    let registry = Moody::start(true).await;
    let (node, name) = (node(&[(&registry.server, plain())]), registry.name());
    let first = bring(&node, &name, PullPolicy::Always).await.unwrap().0;
    let reference = node.images.reference(&name).unwrap();
    let always = async || {
        let brought = node.puller.renew(&reference, &name, WITHIN).await.unwrap();
        let Brought::Unasked { record, why } = brought else { panic!("{brought:?}") };
        (record.manifest, why)
    };
    for (mood, words) in [(Mood::Status(503), "503"), (Mood::SecondWithoutLayers, "503")] {
        registry.is(mood);
        let (digest, why) = always().await;
        assert_eq!(digest, first, "{mood:?}");
        assert!(why.contains(words), "{mood:?}: {why}");
    }
    // Nobody is there at all.
    drop(registry);
    let (digest, why) = always().await;
    assert_eq!(digest, first);
    assert!(why.contains("connect to"), "{why}");
}

#[tokio::test]
async fn a_registry_that_answers_otherwise_is_believed() {
    let registry = Moody::start(true).await;
    let (node, name) = (node(&[(&registry.server, plain())]), registry.name());
    bring(&node, &name, PullPolicy::Always).await.unwrap();
    for (code, words) in [(404, "does not have it"), (401, "log in to"), (403, "403")] {
        registry.is(Mood::Status(code));
        let refused = bring(&node, &name, PullPolicy::Always).await.unwrap_err();
        assert!(refused.contains(words), "{code}: {refused}");
    }
    // Who does not ask is not told.
    assert!(bring(&node, &name, PullPolicy::Missing).await.is_ok());
}

#[tokio::test]
async fn an_image_that_is_not_here_does_not_come_from_a_registry_that_does_not_answer() {
    let registry = Moody::start(true).await;
    registry.is(Mood::Status(503));
    let node = node(&[(&registry.server, plain())]);
    let refused = bring(&node, &registry.name(), PullPolicy::Always).await.unwrap_err();
    assert!(refused.contains("503"), "{refused}");
}

#[tokio::test]
async fn what_a_digest_says_is_not_asked_for() {
    let registry = Moody::start(true).await;
    let node = node(&[(&registry.server, plain())]);
    let pinned = format!("{}/team/app@{}", registry.server.authority, registry.digest(0));
    for _ in 0..2 {
        registry.asked.lock().unwrap().clear();
        bring(&node, &pinned, PullPolicy::Always).await.unwrap();
    }
    assert_eq!(registry.asked(), [""; 0]);
}

#[tokio::test]
async fn never_asks_nobody_and_finds_what_is_here_by_its_digest() {
    let registry = Moody::start(true).await;
    let (node, name) = (node(&[(&registry.server, plain())]), registry.name());
    let refused = bring(&node, &name, PullPolicy::Never).await.unwrap_err();
    assert!(refused.contains("is not on this node"), "{refused}");
    assert_eq!(registry.asked(), [""; 0]);
    let (digest, _) = bring(&node, &name, PullPolicy::Missing).await.unwrap();
    registry.is(Mood::Status(503));
    let pinned = format!("{name}@{digest}");
    for name in [&name, &pinned] {
        let brought = bring(&node, name, PullPolicy::Never).await;
        assert_eq!(brought, Ok((digest.clone(), String::new())), "{name}");
    }
    assert_eq!(registry.asked(), [""; 0]);
}

#[tokio::test]
async fn what_a_submit_pins_is_asked_of_the_registry_or_of_this_node_alone() {
    let registry = Moody::start(true).await;
    let (node, name) = (node(&[(&registry.server, plain())]), registry.name());
    let (first, second) = (registry.digest(0), registry.digest(1));
    let means = async |policy| node.puller.resolve(&name, policy).await.ok();
    assert_eq!(means(PullPolicy::Never).await, None);
    assert_eq!(registry.asked(), [""; 0]);
    node.puller.pull(&name).await.unwrap();
    registry.is(Mood::Second);
    assert_eq!(means(PullPolicy::Missing).await, Some(first.clone()));
    assert_eq!(means(PullPolicy::Never).await, Some(first));
    assert_eq!(registry.asked(), [""; 0]);
    assert_eq!(means(PullPolicy::Always).await, Some(second));
}
