//! Unpacks one layer as the agent does, for `ferrite-bench`: `unpack BLOB FOLDER DIFF_ID`. The folder then holds the
//! layer under its digest.

use std::path::Path;

use anyhow::{Context, bail};
use ferrite_store::layer::Layers;
use ferrite_store::stack::Stack;

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [blob, folder, digest] = words.as_slice() else {
        bail!("usage: unpack BLOB FOLDER DIFF_ID");
    };
    let layers = Layers::open(Path::new(folder));
    let stack = Stack::new(vec![digest.parse()?]);
    let step = stack.steps().next().context("one layer")?;
    layers.ensure(&step, Path::new(blob)).context("unpack")
}
