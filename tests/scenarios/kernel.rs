//! What the kernel that is built for Ferrite can do.

use anyhow::Result;
use ferrite_tests::images::Kind;
use ferrite_tests::node::Node;
use serde_json::json;

/// Fewer, and something was not tried.
const TRIED: u64 = 100;

/// An option that was lost fails by its name here, and not by accident elsewhere.
#[test]
fn everything_that_is_lived_on_is_there() -> Result<()> {
    let mut node = Node::new("kernel", Kind::Probed)?;
    node.boot()?;
    let found = node.probe(&["kernel"])?;
    assert_eq!(found["lost"], json!({}), "{found}");
    assert!(found["tried"].as_u64() > Some(TRIED), "{found}");
    // Nor is there more than there should be: what is built in makes nothing of its own accord.
    let interfaces = node.probe(&["identity"])?["interfaces"].clone();
    assert_eq!(interfaces, json!(["eth0", "lo"]));
    Ok(())
}
