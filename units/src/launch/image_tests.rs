//! What becomes of images that hold less, or other owners, than most.

use std::path::Path;

use ferrite_schema::shim::Request;

use super::*;
use crate::ids::Evidence;

fn places(folder: &Path) -> Places {
    let at = |name: &str| folder.join(name);
    let evidence = Evidence { scratch: at("scratch"), run: at("run") };
    Places {
        run: at("run"),
        scratch: at("scratch"),
        logs: at("logs"),
        shim_cgroup: at("shims"),
        unit_cgroup: "/units".to_owned(),
        system_cgroup: "/node".to_owned(),
        volumes: at("volumes"),
        ids: Ranges::at(&at("ids.json"), evidence),
        allowed: ContainersConfig::default(),
    }
}

fn asked(more: &str, layers: &[&str]) -> Result<Request, Prepare> {
    let folder = tempfile::tempdir().unwrap();
    let config = serde_json::from_str(r#"{"config":{"Cmd":["/program"]}}"#).unwrap();
    let unit = format!("name = \"u\"\nimage = \"team/app\"\n{more}");
    let unit = ferrite_schema::unit::parse(&unit).unwrap();
    let layers = layers.iter().map(|layer| (*layer).to_owned()).collect();
    request(&unit, &config, layers, &places(folder.path()))
}

#[test]
fn an_image_without_layers_is_named_unless_something_is_mounted() {
    let problem = asked("", &[]).unwrap_err().to_string();
    assert!(problem.starts_with("run image team/app: it has no layers"), "{problem}");
    let volume = "volumes = [{ name = \"v\", target = \"/v\" }]";
    assert!(asked(volume, &[]).unwrap().layers.is_empty());
    assert_eq!(asked("", &["/layer"]).unwrap().layers, ["/layer"]);
}

#[test]
fn an_init_is_there_where_the_unit_wants_one() {
    assert!(!asked("", &["/layer"]).unwrap().init);
    assert!(asked("init = true", &["/layer"]).unwrap().init);
}
