//! Tables, as people see them.

use super::*;

fn instance(name: &str, state: &str, machine: Option<&str>) -> ClusterInstance {
    ClusterInstance {
        name: name.to_owned(),
        machine: machine.map(|_| "0".repeat(32)),
        machine_name: machine.map(str::to_owned),
        state: state.to_owned(),
        ready: state == "running",
        addresses: vec!["10.112.1.2".to_owned()],
        ports: vec!["80/tcp".to_owned()],
        exit: (state == "failed").then_some(Exit::Status { code: 3 }),
        outdated: false,
        why: "it had the fewest units".to_owned(),
    }
}

fn unit(name: &str, instances: Vec<ClusterInstance>) -> ClusterUnit {
    let document = serde_json::json!({"name": name, "image": "web:1", "replicas": 3});
    ClusterUnit {
        name: name.to_owned(),
        target: Some(UnitTarget::Launched),
        replicas: Some(3),
        spec: None,
        image_digest: None,
        definition: serde_json::from_value(document).ok(),
        revision: 7,
        instances,
        notes: Vec::new(),
        problem: None,
    }
}

fn web() -> ClusterUnit {
    let none = ClusterInstance {
        addresses: Vec::new(),
        ports: Vec::new(),
        ..instance("web@3", "unplaced", None)
    };
    unit(
        "web",
        vec![
            instance("web@1", "running", Some("dev-1")),
            ClusterInstance { outdated: true, ..instance("web@2", "failed", Some("dev-2")) },
            none,
        ],
    )
}

#[test]
fn every_instance_has_a_line_and_so_has_a_unit_without_one() {
    let off = ClusterUnit { target: Some(UnitTarget::Inactive), ..unit("off", Vec::new()) };
    let bad = ClusterUnit {
        target: None,
        definition: None,
        problem: Some("x".to_owned()),
        ..unit("bad", Vec::new())
    };
    assert_eq!(
        list(&[bad.clone(), off.clone(), web()]),
        "UNIT   STATE                           READY  MACHINE  ADDRESS     PORTS   IMAGE\n\
         bad    not understood                  -      -        -           -\n\
         off    inactive                        -      -        -           -       web:1\n\
         web@1  running                         yes    dev-1    10.112.1.2  80/tcp  web:1\n\
         web@2  failed (status 3), old version  no     dev-2    10.112.1.2  80/tcp  web:1\n\
         web@3  unplaced                        no     -                            web:1"
    );
    assert_eq!(
        files(&[bad, off, web()]),
        "UNIT  WISH            REPLICAS  READY   IMAGE\n\
         bad   not understood  3         0 of 0\n\
         off   inactive        3         0 of 0  web:1\n\
         web   launched        3         1 of 3  web:1"
    );
    assert!(list(&[]).contains("ferrite unit start"));
}

#[test]
fn a_units_status_says_where_its_instances_are_and_why() {
    assert_eq!(
        status(&web()),
        "unit      web\nwish      launched\nreplicas  3\nimage     web:1\nrevision  7\n\n\
         INSTANCE  STATE              READY  MACHINE  WHY\n\
         web@1     running            yes    dev-1    it had the fewest units\n\
         web@2     failed (status 3)  no     dev-2    it had the fewest units\n\
         web@3     unplaced           no     -        it had the fewest units"
    );
    assert_eq!(
        progress(&web()),
        "web@1 running on dev-1, web@2 failed (status 3) on dev-2, web@3 unplaced"
    );
}
