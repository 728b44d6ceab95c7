//! What others make of an image, and we.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::made;
use super::random::{Engine, Stack};
use super::seen::{self, Tree};

/// What became of an image: its tree, or why it was refused.
pub(super) type Outcome = Result<Tree, String>;

/// What all make of the same image.
pub(super) struct Outcomes {
    pub(super) ours: Outcome,
    pub(super) others: Vec<(Engine, Outcome)>,
}

/// Unpacks the stacks as one image by ourselves and these.
pub(super) fn run(stacks: &[Stack], at_root: bool, engines: &[Engine]) -> Outcomes {
    let folder = tempfile::tempdir().unwrap();
    let tars = made::tars(stacks, at_root);
    let layout = folder.path().join("layout");
    made::layout(&tars, &layout);
    let ours = seen::unpacked(&tars, &folder.path().join("ours"));
    let ours = ours.map_err(|error| ferrite_schema::chain(&error));
    let ours = ours.map(|layers| seen::mounted(&layers, &folder.path().join("ours")));
    let other = |engine: &Engine| match engine {
        Engine::Umoci => (*engine, umoci(&layout, &folder.path().join("umoci"))),
        Engine::Storage => (*engine, storage(&layout, &folder.path().join("storage"))),
    };
    let others = engines.iter().map(other).collect();
    ferrite_files::removal::remove(folder.path()).unwrap();
    Outcomes { ours, others }
}

fn succeeds(command: &mut Command) -> Result<(), String> {
    let output = command.output().unwrap();
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

fn umoci(layout: &Path, folder: &Path) -> Outcome {
    let image = format!("{}:t", layout.display());
    let mut umoci = Command::new("umoci");
    umoci.args(["raw", "unpack", "--image", &image]).arg(folder);
    succeeds(&mut umoci)?;
    Ok(seen::tree(folder))
}

/// The `vfs` driver copies each layer's folder to begin the next one's.
fn storage(layout: &Path, folder: &Path) -> Outcome {
    let root = folder.join("root");
    let place = format!(
        "containers-storage:[vfs@{}+{}]t:latest",
        root.display(),
        folder.join("run").display()
    );
    let mut skopeo = Command::new("skopeo");
    skopeo
        .args(["--insecure-policy", "copy", "--quiet"])
        .arg(format!("oci:{}:t", layout.display()));
    succeeds(skopeo.arg(place).env("TMPDIR", layout))?;
    Ok(seen::tree(&top(&root)))
}

fn top(root: &Path) -> PathBuf {
    let images = std::fs::read(root.join("vfs-images/images.json")).unwrap();
    let images: Value = serde_json::from_slice(&images).unwrap();
    root.join("vfs/dir").join(images[0]["layer"].as_str().unwrap())
}
