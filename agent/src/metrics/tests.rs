use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ferrite_schema::api::{
    HealthState, Machine, NodeStats, Origin, UnitState, UnitStats, UnitStatus,
};
use ferrite_schema::control::Status;

use super::readings::Kernel;
use super::*;

/// Traffic as the kernel shows it.
const NET: &str = "Inter-|   Receive                                                |  Transmit\n \
               face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
               lo:   9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n  eth0: 1000 10 1 2 0 0 0 0 2000 20 3 4 0 0 0 0\n";

/// What PID 1 says of the slots.
fn slots() -> Status {
    let status = serde_json::json!({
        "slot": "B", "ready": true, "shutting_down": false, "services": [], "state_recreated": null,
        "slots": [
            {"slot": "A", "attributes": {"priority": 1, "tries": 0, "successful": false}, "version": null, "problem": "empty"},
            {"slot": "B", "attributes": {"priority": 2, "tries": 15, "successful": true}, "version": "1.2", "problem": null},
        ],
    });
    serde_json::from_value(status).unwrap()
}

/// Readings with something of everything.
fn all() -> Readings {
    let unit = |name: &str, state: UnitState| UnitStatus {
        name: name.to_owned(),
        image: "registry.example/a:1".to_owned(),
        state,
        restarts: 2,
        since_s: 1_700_000_000,
        ready: true,
        health: Some(HealthState::Healthy),
        ..UnitStatus::default()
    };
    let stats = UnitStats {
        unit: "web".to_owned(),
        cpu_us: 1_500_000,
        memory_bytes: Some(1 << 20),
        cache_bytes: Some(4096),
        memory_max_bytes: Some(32 << 20),
        oom_kills: Some(1),
        read_bytes: Some(2),
        written_bytes: Some(3),
        pids: Some(4),
        pids_max: Some(4096),
        disk_bytes: Some(5),
        disk_max_bytes: Some(6),
        inodes: Some(7),
        inodes_max: Some(8),
        ..UnitStats::default()
    };
    Readings {
        now_s: 1_700_000_100.5,
        machine: Some(Machine {
            id: String::new(),
            hostname: "n".to_owned(),
            version: "1.2".to_owned(),
            variant: "slim".to_owned(),
            kernel: "6.12".to_owned(),
            slot: "B".to_owned(),
            rescue: None,
            ready: true,
            uptime_s: 1,
            warnings: vec!["one".to_owned()],
        }),
        kernel: Kernel {
            stat: "cpu  1 2 3 4 5 6 7 8 0 0\ncpu0 100 2 3 4 5 6 7 8 0 0\nbtime 1700000000\n".to_owned(),
            loadavg: "0.25 0.5 1.00 1/100 5\n".to_owned(),
            pressure_cpu: "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n".to_owned(),
            pressure_memory: "some avg10=0.00 total=2\nfull avg10=0.00 total=1\n".to_owned(),
            pressure_io: "some avg10=0.00 total=4\nfull avg10=0.00 total=3\n".to_owned(),
            links: node::traffic(NET),
        },
        stats: NodeStats { memory_bytes: 1 << 30, state_bytes: 1 << 33, ..NodeStats::default() },
        units: vec![
            unit("web", UnitState::Running),
            UnitStatus { origin: Origin::System, ..unit("+etcd", UnitState::BackingOff) },
            UnitStatus { template: true, ..unit("web@", UnitState::Loaded) },
        ],
        unit_stats: vec![stats],
        unit_traffic: [("web".to_owned(), node::traffic(NET))].into(),
        slots: Some(slots()),
        cluster: Some(ClusterReading {
            name: "dev".to_owned(),
            services: Some((3, 7)),
            lag_s: Some(0),
            etcd: Some(EtcdReading { has_leader: true, ..EtcdReading::default() }),
            ..ClusterReading::default()
        }),
        answered: vec![("slots", true), ("etcd", false)],
    }
}

fn has(text: &str, line: &str) {
    assert!(text.lines().any(|one| one == line), "{line} is not in:\n{text}");
}

#[test]
fn what_was_read_is_said() {
    let text = text(&all());
    for line in [
        "ferrite_build_info{version=\"1.2\",variant=\"slim\",kernel=\"6.12\",slot=\"B\"} 1",
        "ferrite_node_ready 1",
        "ferrite_node_warnings 1",
        "ferrite_source_up{source=\"etcd\"} 0",
        "node_time_seconds 1700000100.5",
        "node_boot_time_seconds 1700000000",
        "node_load5 0.5",
        "node_cpu_seconds_total{cpu=\"0\",mode=\"user\"} 1",
        "node_cpu_seconds_total{cpu=\"0\",mode=\"steal\"} 0.08",
        "node_pressure_cpu_waiting_seconds_total 1.5",
        "node_filesystem_size_bytes{device=\"STATE\",fstype=\"ext4\",mountpoint=\"/var\"} 8589934592",
        "node_network_receive_bytes_total{device=\"eth0\"} 1000",
        "node_network_transmit_drop_total{device=\"eth0\"} 4",
        "ferrite_slot_running{slot=\"B\"} 1",
        "ferrite_slot_info{slot=\"A\",version=\"\"} 1",
        "ferrite_slot_tries{slot=\"B\"} 15",
        "ferrite_units{state=\"running\"} 1",
        "ferrite_units{state=\"loaded\"} 0",
        "ferrite_unit_info{name=\"+etcd\",image=\"registry.example/a:1\",origin=\"system\"} 1",
        "ferrite_unit_state{name=\"web\",state=\"running\"} 1",
        "ferrite_unit_state{name=\"web\",state=\"failed\"} 0",
        "ferrite_unit_state{name=\"+etcd\",state=\"backing-off\"} 1",
        "ferrite_unit_restarts_total{name=\"web\"} 2",
        "container_cpu_usage_seconds_total{name=\"web\"} 1.5",
        "container_memory_working_set_bytes{name=\"web\"} 1048576",
        "container_threads{name=\"web\"} 4",
        "container_network_transmit_bytes_total{name=\"web\",interface=\"eth0\"} 2000",
        "container_network_receive_errors_total{name=\"web\",interface=\"eth0\"} 1",
        "ferrite_cluster_ready_instances 7",
        "ferrite_cluster_current 1",
        "etcd_server_has_leader 1",
    ] {
        has(&text, line);
    }
    // Loopback is nobody's traffic, the sum of processors no processor, and a template no unit that runs.
    for words in ["device=\"lo\"", "cpu=\"\"", "name=\"web@\""] {
        assert!(!text.contains(words), "{words}:\n{text}");
    }
}

#[test]
fn every_figure_is_said_once_and_known() {
    let text = text(&all());
    let said: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let said_once: BTreeSet<&str> = said.iter().copied().collect();
    let known: BTreeSet<&str> = names::ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(said.len(), said_once.len());
    assert_eq!(said_once, known);
    let series: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' ').map(|(series, _)| series))
        .collect();
    assert_eq!(
        series.iter().collect::<BTreeSet<_>>().len(),
        series.len(),
        "a series is there twice"
    );
}

#[test]
fn what_could_not_be_read_is_absent_and_never_nought() {
    let text = text(&Readings { slots: None, cluster: None, kernel: Kernel::default(), ..all() });
    for family in [
        "ferrite_slot_",
        "ferrite_cluster_",
        "etcd_",
        "node_pressure_",
        "node_load",
        "node_cpu_",
        "node_network_",
    ] {
        assert!(!text.contains(family), "{family}:\n{text}");
    }
    let rescue = Machine { rescue: Some("broken".to_owned()), ..all().machine.unwrap() };
    let text = super::text(&Readings { machine: Some(rescue), ..all() });
    assert!(!text.contains("node_filesystem_"), "{text}");
    has(&text, "ferrite_node_rescue 1");
}

#[test]
fn units_beyond_the_bound_are_counted_and_not_listed() {
    let many = (0..units::UNITS_MAX + 5).map(|index| UnitStatus {
        name: format!("unit-{index:05}"),
        state: UnitState::Running,
        ..UnitStatus::default()
    });
    let text = text(&Readings { units: many.collect(), ..all() });
    has(&text, "ferrite_units_left_out 5");
    has(&text, "ferrite_units{state=\"running\"} 1005");
    assert!(text.contains("name=\"unit-00999\"") && !text.contains("name=\"unit-01000\""));
}

/// Prometheus' own judge, from Debian's package: `scripts/checkers` puts it into cargo's target folder, four above the tests.
fn promtool() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let tool = tests.ancestors().nth(4).unwrap().join("checkers/tools/promtool");
    assert!(tool.is_file(), "{} is missing: scripts/checkers makes it", tool.display());
    tool
}

#[test]
fn promtool_is_content() {
    let judge = |text: &str| {
        let mut child = Command::new(promtool())
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.code(), said.into_owned())
    };
    let odd = UnitStatus { image: "a\"b\\c\nd".to_owned(), ..all().units[0].clone() };
    assert_eq!(judge(&text(&Readings { units: vec![odd], ..all() })), (Some(0), String::new()));
    let (code, said) = judge("# TYPE a_thing counter\na_thing 1\n");
    assert!(code != Some(0) && said.contains("_total"), "it judges nothing: {said}");
}

/// `FERRITE_BLESS=1 cargo test -p ferrite-agent metrics` writes the list anew.
#[test]
fn the_document_lists_every_figure() {
    let mut list = String::from("| name | kind | labels | meaning |\n|---|---|---|---|\n");
    for metric in names::ALL {
        let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>();
        let (kind, labels) = (metric.kind.word(), labels.join(", "));
        writeln!(list, "| `{}` | {kind} | {labels} | {} |", metric.name, metric.help).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let kept = std::fs::read_to_string(&path).unwrap();
    let (before, _) = kept.split_once("| name | kind |").unwrap();
    let now = format!("{before}{list}");
    if std::env::var_os("FERRITE_BLESS").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap() == now,
        "docs/metrics.md is not what the code says: FERRITE_BLESS=1 cargo test -p ferrite-agent metrics"
    );
}
