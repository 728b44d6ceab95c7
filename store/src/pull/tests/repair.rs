//! What is on the node is not whole, or the rules changed since it came.

use ferrite_schema::node_config::SignaturePolicy;

use super::*;

/// A node with an image, a count of the requests since, and whether the registry still answers.
struct Scene {
    node: Node,
    server: Server,
    requests: Arc<AtomicUsize>,
    dead: Arc<std::sync::atomic::AtomicBool>,
    made: Made,
}

impl Scene {
    async fn begin() -> Self {
        let (made, requests) = (Made::new(), Arc::new(AtomicUsize::new(0)));
        let dead = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (content, counted, gone) = (made.clone(), Arc::clone(&requests), Arc::clone(&dead));
        let server = Server::start(move |asked| {
            counted.fetch_add(1, Ordering::Relaxed);
            if gone.load(Ordering::Relaxed) { status(404) } else { content.answer(asked) }
        })
        .await;
        let node = node(&[(&server, plain())]);
        node.pull(&server).await.unwrap();
        requests.store(0, Ordering::Relaxed);
        Self { node, server, requests, dead, made }
    }

    fn name(&self) -> String {
        format!("{}/team/app:1", self.server.authority)
    }

    fn layer(&self) -> std::path::PathBuf {
        self.node.layers.path(&Digest::of(&self.made.layer))
    }

    fn blob(&self, content: &[u8]) -> std::path::PathBuf {
        self.node.images.blob(&Digest::of(content))
    }

    async fn is_mended_with(&self, requests: usize) {
        self.node.puller.ensure(&self.name()).await.unwrap();
        assert_eq!(self.requests.load(Ordering::Relaxed), requests);
        let file = fs::read(self.layer().join("etc-file")).unwrap();
        assert_eq!(file, [7_u8; 300_000]);
        self.node.puller.look(&self.name()).await.unwrap();
        for blob in [&self.made.layer, &self.made.config, &self.made.manifest] {
            assert_eq!(&fs::read(self.blob(blob)).unwrap(), blob);
        }
    }

    async fn fails(&self, expected: &[&str]) {
        let error = self.node.puller.ensure(&self.name()).await.unwrap_err();
        let text = ferrite_schema::chain(&error);
        for expected in expected {
            assert!(text.contains(expected), "{expected:?} is not in {text}");
        }
    }

    /// The same node after a reboot with these rules.
    fn with_rule(mut self, policy: SignaturePolicy) -> Self {
        let keys = Vec::new();
        let name = format!("{}/*", self.server.authority);
        let settings = Settings {
            registries: BTreeMap::from([(self.server.authority.clone(), plain())]),
            signatures: vec![SignatureRule { name, policy, keys }],
        };
        self.node.puller =
            Puller::new(self.node.images.clone(), self.node.layers.clone(), settings);
        self
    }
}

#[tokio::test]
async fn a_missing_layer_is_unpacked_from_its_blob_without_a_registry() {
    let scene = Scene::begin().await;
    fs::remove_dir_all(scene.layer()).unwrap();
    let (one, two) = (scene.name(), scene.name());
    let puller = &scene.node.puller;
    let (one, two) = tokio::join!(puller.ensure(&one), puller.ensure(&two));
    assert_eq!(one.unwrap(), two.unwrap());
    scene.is_mended_with(0).await;
    fs::remove_file(scene.layer().join("etc-file")).unwrap();
    scene.is_mended_with(0).await;
}

#[tokio::test]
async fn what_is_missing_or_changed_is_pulled_again() {
    let spoil = |path: &std::path::Path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    // Layer and blob; a blob that changed; the documents. The manifest is asked for each time.
    let scene = Scene::begin().await;
    fs::remove_dir_all(scene.layer()).unwrap();
    fs::remove_file(scene.blob(&scene.made.layer)).unwrap();
    scene.is_mended_with(2).await;
    let scene = Scene::begin().await;
    fs::remove_dir_all(scene.layer()).unwrap();
    spoil(&scene.blob(&scene.made.layer));
    scene.is_mended_with(2).await;
    let scene = Scene::begin().await;
    spoil(&scene.blob(&scene.made.config));
    scene.is_mended_with(2).await;
    let scene = Scene::begin().await;
    spoil(&scene.blob(&scene.made.manifest));
    scene.is_mended_with(1).await;
    let scene = Scene::begin().await;
    fs::remove_file(scene.blob(&scene.made.config)).unwrap();
    fs::remove_file(scene.blob(&scene.made.manifest)).unwrap();
    scene.is_mended_with(2).await;
}

#[tokio::test]
async fn what_cannot_be_mended_says_what_is_wrong_and_what_was_tried() {
    let scene = Scene::begin().await;
    scene.dead.store(true, Ordering::Relaxed);
    fs::remove_dir_all(scene.layer()).unwrap();
    fs::remove_file(scene.blob(&scene.made.layer)).unwrap();
    let digest = Digest::of(&scene.made.layer).to_string();
    let words = [&digest, "is not on this node to its end", "pulling it again", "does not have it"];
    scene.fails(&words).await;
}

#[tokio::test]
async fn a_rule_holds_for_what_was_pulled_before_it() {
    let scene = Scene::begin().await.with_rule(SignaturePolicy::Reject);
    scene.fails(&["rejects it", "[[signatures]]"]).await;
    assert_eq!(scene.requests.load(Ordering::Relaxed), 0, "a registry was asked all the same");
    assert!(scene.node.puller.objection(&scene.name()).is_some());
    assert!(scene.node.puller.open(&scene.name()).is_err());
    // A signature is looked for; nobody has one, and then nobody answers.
    let scene = Scene::begin().await.with_rule(SignaturePolicy::Signed);
    scene.fails(&["wants a signature, and none was asked for", "and it has none"]).await;
    assert!(scene.requests.load(Ordering::Relaxed) > 0);
    scene.dead.store(true, Ordering::Relaxed);
    scene.fails(&["wants a signature", "pulling it again", "does not have it"]).await;
    let error = scene.node.puller.ensure(&scene.name()).await.unwrap_err();
    assert!(error.is_by_rule());
    // The rule is taken back.
    let scene = scene.with_rule(SignaturePolicy::Accept);
    scene.node.puller.ensure(&scene.name()).await.unwrap();
    assert!(scene.node.puller.objection(&scene.name()).is_none());
}
