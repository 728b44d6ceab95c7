//! Images as `docker save` leaves them, made out of others: with a configuration that no other tool here writes, and with files
//! of any user, which tar needs no right for.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::programs::succeed;

/// A layer: what is in a folder, at the image's root.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    /// The folder.
    pub folder: &'a Path,
    /// User and group of all in it.
    pub owner: u32,
}

/// Makes `archive` of the image in the OCI archive `base`, with further layers on top and what `change` makes of its
/// configuration (`config` in it).
///
/// # Errors
/// skopeo or tar fails.
pub fn changed(
    base: &Path,
    layers: &[Layer<'_>],
    change: impl FnOnce(&mut Value),
    archive: &Path,
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (saved, parts) = (folder.path().join("saved.tar"), folder.path().join("parts"));
    let (from, to) = (base.display(), saved.display());
    let copy = ["--insecure-policy", "copy", "--quiet"];
    let copy = copy
        .map(str::to_owned)
        .into_iter()
        .chain([format!("oci-archive:{from}"), format!("docker-archive:{to}:base:latest")]);
    succeed(Command::new("skopeo").args(copy))?;
    fs::create_dir(&parts)?;
    succeed(Command::new("tar").arg("-xf").arg(&saved).arg("-C").arg(&parts))?;
    let mut manifest: Value = read(&parts.join("manifest.json"))?;
    let name = manifest.pointer("/0/Config").and_then(Value::as_str);
    let name = name.context("it has no configuration")?.to_owned();
    let mut config: Value = read(&parts.join(&name))?;
    for (number, layer) in layers.iter().enumerate() {
        let tar = format!("further-{number}.tar");
        let owner = layer.owner;
        let mut pack = Command::new("tar");
        pack.args(["--numeric-owner", &format!("--owner=:{owner}"), &format!("--group=:{owner}")]);
        succeed(pack.arg("-cf").arg(parts.join(&tar)).arg("-C").arg(layer.folder).arg("."))?;
        let sum = succeed(Command::new("sha256sum").arg(parts.join(&tar)))?;
        let sum = sum.split(' ').next().unwrap_or_default();
        push(&mut config, "/rootfs/diff_ids", format!("sha256:{sum}"))?;
        push(&mut manifest, "/0/Layers", tar)?;
    }
    change(config.get_mut("config").context("its configuration says nothing")?);
    write(&parts.join(&name), &config)?;
    write(&parts.join("manifest.json"), &manifest)?;
    pack(&parts, archive)
}

/// Makes `archive` of an image that has no layer, as `FROM scratch` and a command alone.
///
/// # Errors
/// tar fails.
pub fn empty(command: &[&str], archive: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": { "Cmd": command },
        "rootfs": { "type": "layers", "diff_ids": null },
    });
    write(&folder.path().join("config.json"), &config)?;
    let manifest =
        json!([{ "Config": "config.json", "RepoTags": ["empty:latest"], "Layers": null }]);
    write(&folder.path().join("manifest.json"), &manifest)?;
    pack(folder.path(), archive)
}

fn pack(parts: &Path, archive: &Path) -> Result<()> {
    let mut names: Vec<_> = fs::read_dir(parts)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<_, _>>()?;
    names.sort();
    let mut tar = Command::new("tar");
    succeed(tar.arg("-cf").arg(archive).arg("-C").arg(parts).args(names)).map(drop)
}

fn push(document: &mut Value, list: &str, text: String) -> Result<()> {
    let list = document.pointer_mut(list).and_then(Value::as_array_mut);
    list.context("find a list of layers")?.push(Value::from(text));
    Ok(())
}

fn read(path: &Path) -> Result<Value> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

fn write(path: &Path, value: &Value) -> Result<()> {
    Ok(fs::write(path, value.to_string())?)
}
