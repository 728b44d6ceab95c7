//! Images that come from this node itself or from machines nearby.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use ferrite_schema::api::ExportFormat;
use ferrite_schema::node_config::SignaturePolicy;

use super::*;
use crate::export;
use crate::pull::nearby::{Asked as Told, Brought, Take};

/// Whoever is asked gives this image, whichever is wanted.
#[derive(Debug)]
struct Gives {
    images: ImageStore,
    names: Vec<String>,
    asked: AtomicUsize,
    /// What is said where nothing was taken.
    otherwise: Brought,
}

impl Nearby for Gives {
    fn fetch<'a>(&'a self, _manifest: &'a Digest, path: &'a Path, take: Take<'a>) -> Told<'a> {
        Box::pin(async move {
            for name in &self.names {
                self.asked.fetch_add(1, Ordering::Relaxed);
                let file = fs::File::create(path).unwrap();
                let plan = export::plan(&self.images, &Policy::default(), name, ExportFormat::Oci);
                plan.unwrap().write(&mut &file).unwrap();
                if take().await {
                    return Brought::Taken;
                }
            }
            self.otherwise.clone()
        })
    }
}

/// A registry that has nothing any more, a node that has its image, and that image's name with its digest.
async fn left() -> (Server, Node, String) {
    let (made, gone) = (Made::new(), Arc::new(AtomicBool::new(false)));
    let empty = Arc::clone(&gone);
    let answer = move |asked: &Asked| {
        if empty.load(Ordering::Relaxed) { status(404) } else { made.answer(asked) }
    };
    let server = Server::start(answer).await;
    let has = node(&[(&server, plain())]);
    let record = has.pull(&server).await.unwrap();
    gone.store(true, Ordering::Relaxed);
    let pinned = format!("{}/team/app:1@{}", server.authority, record.manifest);
    (server, has, pinned)
}

fn gives(node: &Node, names: &[&str]) -> Arc<Gives> {
    Arc::new(Gives {
        images: node.images.clone(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        asked: AtomicUsize::new(0),
        otherwise: Brought::Nobody,
    })
}

#[tokio::test]
async fn what_is_here_under_another_name_is_not_looked_for() {
    let (server, node, pinned) = left().await;
    let plain_name = format!("{}/team/app:1", server.authority);
    let of_tag = node.puller.look(&plain_name).await.unwrap();
    let record = node.puller.ensure(&pinned).await.unwrap();
    assert_eq!((&record.name, &record.manifest), (&pinned, &of_tag.manifest));
    node.images.forget(&plain_name).unwrap();
    node.puller.look(&pinned).await.unwrap();
    let digest = of_tag.manifest;
    let moved = format!("{}/other/copy@{digest}", server.authority);
    node.puller.ensure(&moved).await.unwrap();
}

#[tokio::test]
async fn what_a_machine_nearby_has_needs_no_registry() {
    let (server, has, pinned) = left().await;
    let wants = node(&[(&server, plain())]);
    let near = gives(&has, &[&format!("{}/team/app:1", server.authority)]);
    wants.puller.look_nearby(Arc::clone(&near) as Arc<dyn Nearby>);
    let unpinned = format!("{}/team/app:1", server.authority);
    wants.puller.ensure(&unpinned).await.unwrap_err();
    assert_eq!(near.asked.load(Ordering::Relaxed), 0, "a tag is the registry's to explain");
    let record = wants.puller.ensure(&pinned).await.unwrap();
    assert_eq!((record.name, near.asked.load(Ordering::Relaxed)), (pinned.clone(), 1));
    let layer = wants.layers.path(&record.layers[0].parse().unwrap());
    assert_eq!(fs::metadata(layer.join("etc-file")).unwrap().len(), 300_000);
    wants.puller.ensure(&pinned).await.unwrap();
    assert_eq!(near.asked.load(Ordering::Relaxed), 1, "it is here now");
    let staged = fs::read_dir(wants.images.staging()).unwrap().count();
    assert_eq!(staged, 0, "the archive stays");
}

#[tokio::test]
async fn another_image_than_was_asked_for_is_none() {
    let (server, has, _) = left().await;
    let wants = node(&[(&server, plain())]);
    wants.puller.look_nearby(gives(&has, &[&format!("{}/team/app:1", server.authority)]));
    let other = format!("{}/team/app:1@sha256:{}", server.authority, "a".repeat(64));
    wants.puller.ensure(&other).await.unwrap_err();
    assert!(wants.images.list().unwrap().is_empty());
}

/// A machine that has it is away for a moment: that its registry never had it is not the end.
#[tokio::test]
async fn what_a_machine_may_have_that_cannot_be_asked_now_is_asked_for_again() {
    let (server, has, pinned) = left().await;
    for (otherwise, passes) in
        [(Brought::Nobody, false), (Brought::Perhaps("machine db is not reached".to_owned()), true)]
    {
        let wants = node(&[(&server, plain())]);
        let Some(near) = Arc::into_inner(gives(&has, &[])) else { panic!("it is nobody else's") };
        wants.puller.look_nearby(Arc::new(Gives { otherwise, ..near }));
        let error = wants.puller.ensure(&pinned).await.unwrap_err();
        assert_eq!(error.may_pass(), passes, "{error}");
        let words = ferrite_schema::chain(&error);
        assert_eq!(words.contains("machine db is not reached"), passes, "{words}");
        // Why the registry does not give it is said in any case.
        assert!(words.contains("the registry does not have it"), "{words}");
    }
}

#[tokio::test]
async fn a_signature_comes_from_registries_alone() {
    let (server, has, pinned) = left().await;
    let rule = SignatureRule {
        name: format!("{}/team/app", server.authority),
        policy: SignaturePolicy::Signed,
        keys: Vec::new(),
    };
    let wants = node_with(&[(&server, plain())], vec![rule]);
    let near = gives(&has, &[&format!("{}/team/app:1", server.authority)]);
    wants.puller.look_nearby(Arc::clone(&near) as Arc<dyn Nearby>);
    wants.puller.ensure(&pinned).await.unwrap_err();
    assert_eq!(near.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_name_means_what_is_here_and_else_what_its_registry_has() {
    let made = Made::new();
    let manifest = Digest::of(&made.manifest).to_string();
    let server = Server::start(move |asked| made.answer(asked)).await;
    let node = node(&[(&server, plain())]);
    let name = format!("{}/team/app:1", server.authority);
    assert_eq!(node.puller.resolve(&name, PullPolicy::Missing).await.unwrap(), manifest);
    assert!(node.images.list().unwrap().is_empty(), "asked, and not pulled");
    node.pull(&server).await.unwrap();
    drop(server);
    assert_eq!(node.puller.resolve(&name, PullPolicy::Missing).await.unwrap(), manifest);
}

/// Who lies, or has a disk that does, keeps nobody else from being asked.
#[tokio::test]
async fn where_one_gives_another_image_the_next_one_is_asked() {
    let (server, has, pinned) = left().await;
    let right = format!("{}/team/app:1", server.authority);
    let wrong = other_image(&has);
    let wants = node(&[(&server, plain())]);
    let near = gives(&has, &[&wrong, &right, &wrong]);
    wants.puller.look_nearby(Arc::clone(&near) as Arc<dyn Nearby>);
    assert_eq!(wants.puller.ensure(&pinned).await.unwrap().name, pinned);
    assert_eq!(near.asked.load(Ordering::Relaxed), 2);
    let names: Vec<_> = wants.images.list().unwrap().into_iter().map(|one| one.name).collect();
    assert_eq!(names, [pinned]);
}

/// An image without a file, beside the one that is there.
fn other_image(node: &Node) -> String {
    let layer = tar::Builder::new(Vec::new()).into_inner().unwrap();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        Digest::of(&layer)
    );
    let list = r#"[{"Config":"c.json","RepoTags":["other:1"],"Layers":["l.tar"]}]"#;
    let path = node.images.staging().join("other.tar");
    let mut builder = tar::Builder::new(fs::File::create(&path).unwrap());
    for (name, content) in
        [("manifest.json", list.as_bytes()), ("c.json", config.as_bytes()), ("l.tar", &layer)]
    {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content).unwrap();
    }
    builder.finish().unwrap();
    let stores = (&node.images, &node.layers);
    crate::import::import(&path, None, stores, &Policy::default()).unwrap();
    fs::remove_file(path).unwrap();
    "other:1".to_owned()
}
