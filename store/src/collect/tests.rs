use super::*;
use crate::elsewhere::Wanted;
use crate::stack::Stack;
use crate::store::empty_record;

struct Place {
    folder: tempfile::TempDir,
    images: ImageStore,
    layers: Layers,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let images = ImageStore::open(&folder.path().join("images"));
    let layers = Layers::open(&folder.path().join("layers"));
    Place { folder, images, layers }
}

impl Place {
    /// An image with a layer per word; blobs and layers are named after the words.
    fn image(&self, name: &str, words: &[&str]) -> Record {
        let document = |text: &str| {
            let digest = Digest::of(text.as_bytes());
            self.images.write_document(&digest, text.as_bytes()).unwrap();
            digest.to_string()
        };
        let (stack, blob) = (stack(words), self.folder.path().join("tar"));
        for (step, word) in stack.steps().zip(words) {
            fs::write(&blob, tar(word)).unwrap();
            self.layers.ensure(&step, &blob).unwrap();
        }
        let record = Record {
            name: name.to_owned(),
            manifest: document(&format!("manifest of {name}")),
            config: document(&format!("config of {name}")),
            layers: stack.tars().iter().map(Digest::to_string).collect(),
            blobs: words.iter().map(|word| document(word)).collect(),
            ..empty_record()
        };
        self.images.put(&record).unwrap();
        self.age(&record, 1000);
        record
    }

    /// Makes the image one that was last used so long ago.
    fn age(&self, record: &Record, seconds: u64) {
        let path = self.folder.path().join("images/names");
        let key = Digest::of(self.images.key(&record.name).as_bytes()).hex();
        let then = SystemTime::now() - Duration::from_secs(seconds);
        let file = fs::File::options().write(true).open(path.join(format!("{key}.json"))).unwrap();
        file.set_modified(then).unwrap();
    }

    /// Whether the uppermost of these layers is here.
    fn has_layer(&self, words: &[&str]) -> bool {
        self.layers.path(stack(words).folders().last().unwrap()).exists()
    }

    fn has_blob(&self, word: &str) -> bool {
        self.images.blob(&Digest::of(word.as_bytes())).exists()
    }

    fn names(&self) -> Vec<String> {
        self.images.list().unwrap().into_iter().map(|image| image.name).collect()
    }
}

/// A layer with one file.
fn tar(word: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(5000);
    header.set_mode(0o644);
    // Whoever runs the test: anybody else's files are root's alone to make.
    header.set_uid(rustix::process::geteuid().as_raw().into());
    header.set_gid(rustix::process::getegid().as_raw().into());
    builder.append_data(&mut header, word, &[1; 5000][..]).unwrap();
    builder.into_inner().unwrap()
}

fn stack(words: &[&str]) -> Stack {
    Stack::new(words.iter().map(|word| Digest::of(&tar(word))).collect())
}

fn units(place: &Place, units: &[(&str, &str)]) -> Needs {
    let pairs: Vec<_> =
        units.iter().map(|(unit, image)| ((*unit).to_owned(), (*image).to_owned())).collect();
    let run = place.folder.path().join("run");
    Needs::new(&place.images, place.images.census(), &pairs, &run).unwrap()
}

#[test]
fn what_images_share_stays_with_the_one_that_stays() {
    let place = place();
    place.image("one", &["base", "only-one"]);
    place.image("two", &["base", "only-two"]);
    let needs = units(&place, &[]);
    let listed = list(&place.images, &place.layers, &needs).unwrap();
    assert!(listed[0].own_bytes >= 5000 && listed[0].shared_bytes >= 5000, "{listed:?}");
    let pruned = remove(&place.images, &place.layers, &needs, "docker.io/library/one").unwrap();
    assert!(pruned.freed_bytes >= 5000);
    assert_eq!(place.names(), ["two"]);
    assert!(place.has_layer(&["base"]) && place.has_blob("base") && place.has_blob("only-two"));
    assert!(!place.has_layer(&["base", "only-one"]) && !place.has_blob("only-one"));
    let again = remove(&place.images, &place.layers, &needs, "one");
    assert!(matches!(again, Err(Collect::Find { .. })));
}

#[test]
fn what_units_or_shims_use_is_never_collected() {
    let place = place();
    place.image("named", &["a"]);
    let running = place.image("running", &["b"]);
    let folder = place.folder.path().join("run/web");
    fs::create_dir_all(&folder).unwrap();
    let layer = place.layers.path(&running.stack().unwrap().folders()[0]);
    let request = serde_json::json!({ "layers": [layer] }).to_string();
    fs::write(folder.join(shim::REQUEST), request).unwrap();
    let needs = units(&place, &[("web", "docker.io/library/named:latest")]);
    let refused = remove(&place.images, &place.layers, &needs, "named");
    assert!(matches!(refused, Err(Collect::InUse { .. })));
    let pruned = prune(&place.images, &place.layers, &needs, || false).unwrap();
    assert_eq!(pruned.images, ["running"]);
    assert!(place.has_layer(&["a"]) && place.has_layer(&["b"]) && !place.has_blob("b"));
}

#[test]
fn the_longest_unused_goes_first_and_only_while_room_is_wanted() {
    let place = place();
    let old = place.image("old", &["a"]);
    place.age(&old, 5000);
    place.image("newer", &["b"]);
    let fresh = place.image("fresh", &["c"]);
    place.images.note_use(&fresh);
    let needs = units(&place, &[]);
    let images = place.images.clone();
    let enough = || images.list().unwrap().len() < 3;
    assert_eq!(prune(&place.images, &place.layers, &needs, enough).unwrap().images, ["old"]);
    assert_eq!(prune(&place.images, &place.layers, &needs, || false).unwrap().images, ["newer"]);
    assert_eq!(place.names(), ["fresh"]);
}

#[test]
fn nothing_is_swept_under_a_pull() {
    let place = place();
    place.image("one", &["a"]);
    let busy = place.images.begin_use();
    let needs = units(&place, &[]);
    assert!(matches!(sweep(&place.images, &place.layers, &needs), Err(Collect::Busy)));
    // A name may go; the rest follows later.
    remove(&place.images, &place.layers, &needs, "one").unwrap();
    assert!(place.has_layer(&["a"]));
    drop(busy);
    sweep(&place.images, &place.layers, &needs).unwrap();
    assert!(!place.has_layer(&["a"]) && !place.has_blob("a"));
}

/// Before layers were unpacked with a look below, each had the name of its own tar, and another mark.
#[test]
fn layers_that_an_older_version_unpacked_go_unless_a_container_runs_on_them() {
    let place = place();
    place.image("one", &["base", "top", "more"]);
    let old = |word: &str| place.layers.path(&stack(&[word]).folders()[0]);
    removal::remove(&old("base")).unwrap();
    for word in ["base", "top", "more"] {
        fs::create_dir_all(old(word)).unwrap();
    }
    let folder = place.folder.path().join("run/web");
    fs::create_dir_all(&folder).unwrap();
    let request = serde_json::json!({ "layers": [old("base"), old("top")] }).to_string();
    fs::write(folder.join(shim::REQUEST), request).unwrap();
    sweep(&place.images, &place.layers, &units(&place, &[])).unwrap();
    assert!(old("base").exists() && old("top").exists() && !old("more").exists());
    assert!(place.has_layer(&["base", "top"]) && place.has_layer(&["base", "top", "more"]));
    fs::remove_file(folder.join(shim::REQUEST)).unwrap();
    sweep(&place.images, &place.layers, &units(&place, &[])).unwrap();
    assert!(!old("base").exists() && !old("top").exists());
    assert!(place.has_layer(&["base", "top", "more"]) && place.has_blob("base"));
    assert_eq!(place.names(), ["one"], "it is unpacked again from its blobs");
}

#[test]
fn files_count_as_space_does() {
    assert_eq!((percent(1, 3), percent(0, 100), percent(0, 0)), (33, 0, 100));
}

#[test]
fn an_interrupted_collection_leaves_nothing_that_a_start_does_not_remove() {
    let place = place();
    let record = place.image("one", &["a"]);
    let doomed = place.layers.doom(&record.layers[0].parse().unwrap()).unwrap();
    assert!(doomed.exists() && !place.has_layer(&["a"]));
    Layers::open(&place.folder.path().join("layers")).clean();
    assert!(!doomed.exists());
}

#[test]
fn what_was_touched_under_a_clock_that_was_ahead_is_not_kept_until_then() {
    let at = Duration::from_secs;
    assert_eq!(idle(at(1000), at(400)), at(600));
    assert_eq!(idle(at(1000), at(1010)), Duration::ZERO);
    assert_eq!(idle(at(1000), at(1_000_000)), Duration::MAX);
}

/// What a supervisor does to start a unit, with the collector's steps in between.
#[test]
fn a_unit_that_starts_while_the_collector_works_keeps_its_layers() {
    let request = |place: &Place, layer: &str| {
        let folder = place.folder.path().join("run/unit");
        fs::create_dir_all(&folder).unwrap();
        let layer = place.layers.path(&stack(&[layer]).folders()[0]);
        let text = serde_json::json!({ "layers": [layer] }).to_string();
        fs::write(folder.join(shim::REQUEST), text).unwrap();
    };
    // Moments of the collector: 0 before the census, 1 after the units were looked up, 2 after the run folders were,
    // 3 after it has worked. The unit takes its lease at one and has given it back at the next or the one after.
    for begin in 0..=2 {
        for end in begin..=3 {
            let place = place();
            place.image("one", &["base"]);
            let mut lease = None;
            let mut needs = None;
            let mut census = None;
            for moment in 0..=3 {
                if moment == begin {
                    lease = place.images.lease("one").unwrap();
                    assert!(lease.is_some());
                }
                if moment == end {
                    request(&place, "base");
                    lease = None;
                }
                match moment {
                    0 => census = Some(place.images.census()),
                    1 => {
                        let run = place.folder.path().join("run");
                        let census = census.take().unwrap();
                        needs = Some(Needs::new(&place.images, census, &[], &run).unwrap());
                    }
                    2 => {
                        // Its name may go where nobody has it any more; what runs may not.
                        let needs = needs.as_ref().unwrap();
                        prune(&place.images, &place.layers, needs, || false).unwrap();
                    }
                    _ => {}
                }
                if moment >= begin {
                    assert!(place.has_layer(&["base"]), "lease from {begin} to {end}, at {moment}");
                }
                if lease.is_some() {
                    assert_eq!(place.names(), ["one"], "lease from {begin} to {end}, at {moment}");
                }
            }
            drop(lease);
        }
    }
}

#[test]
fn an_image_is_not_removed_under_the_hands_of_who_uses_it() {
    let place = place();
    place.image("one", &["base"]);
    let stale = units(&place, &[]);
    let (_, lease) = place.images.lease("docker.io/library/one").unwrap().unwrap();
    let removed = remove(&place.images, &place.layers, &stale, "one");
    assert!(matches!(removed, Err(Collect::Leased { .. })), "{removed:?}");
    assert!(prune(&place.images, &place.layers, &stale, || false).unwrap().images.is_empty());
    drop(lease);
    // The census knows that it was in use; the next one does not.
    let removed = remove(&place.images, &place.layers, &stale, "one");
    assert!(matches!(removed, Err(Collect::Leased { .. })), "{removed:?}");
    // A unit that names it was submitted after the units had been counted.
    drop(stale);
    let stale = units(&place, &[]);
    place.images.mention("one");
    assert!(prune(&place.images, &place.layers, &stale, || false).unwrap().images.is_empty());
    drop(stale);
    let needs = units(&place, &[]);
    assert_eq!(remove(&place.images, &place.layers, &needs, "one").unwrap().images, ["one"]);
    assert!(!place.has_layer(&["base"]));
}

#[test]
fn what_a_container_runs_on_is_never_guessed() {
    let place = place();
    let folder = place.folder.path().join("run/unit");
    fs::create_dir_all(&folder).unwrap();
    let look = || {
        let run = place.folder.path().join("run");
        Needs::new(&place.images, place.images.census(), &[], &run)
    };
    assert!(look().is_ok(), "no request, nothing mounted");
    fs::write(folder.join(shim::REQUEST), "{ \"layers\": [").unwrap();
    assert!(matches!(look(), Err(Collect::Look { .. })));
    fs::remove_file(folder.join(shim::REQUEST)).unwrap();
    fs::create_dir(folder.join(shim::REQUEST)).unwrap();
    assert!(matches!(look(), Err(Collect::Look { .. })), "it cannot be read");
}

/// "Could not read" is not "is gone": a document that a newer version wrote may name any image.
#[test]
fn where_it_is_not_known_who_needs_images_none_is_forgotten() {
    let place = place();
    place.image("one", &["base"]);
    let unknown = Some("documents of units are not understood here: web".to_owned());
    let needs = Needs { unknown, ..units(&place, &[]) };
    let refused = remove(&place.images, &place.layers, &needs, "one").unwrap_err();
    assert!(refused.to_string().contains("web"), "{refused}");
    let refused = prune(&place.images, &place.layers, &needs, || false).unwrap_err();
    assert!(matches!(refused, Collect::Unknown { .. }), "{refused}");
    assert_eq!(place.names().len(), 1);
}

/// Its last copy may be here: that STATE is short of space is no reason while a unit of the cluster runs by it.
#[test]
fn what_was_imported_here_stays_while_another_machine_may_need_it() {
    let place = place();
    let imported = Record { imported: true, ..place.image("imported:1", &["one"]) };
    place.images.put(&imported).unwrap();
    place.age(&imported, 1000);
    place.image("pulled:1", &["two"]);
    let prunes = |elsewhere| {
        let needs = Needs { elsewhere, ..units(&place, &[]) };
        prune(&place.images, &place.layers, &needs, || false).unwrap().images
    };
    let wanted = Wanted { name: "imported:1".to_owned(), digest: None };
    assert_eq!(prunes(Elsewhere::Known([wanted].into())), ["pulled:1"]);
    assert!(prunes(Elsewhere::Unknown).is_empty());
    assert!(place.has_layer(&["one"]));
    assert_eq!(prunes(Elsewhere::Known(BTreeSet::new())), ["imported:1"]);
}
