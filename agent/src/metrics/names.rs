//! Every figure: its name, its labels, what it says. Names are those that node_exporter, cAdvisor and etcd have for the same thing,
//! where `promtool check metrics` takes them, and begin with `ferrite_` otherwise. `docs/metrics.md` lists them.

use super::text::Kind::{Counter, Gauge};
use super::text::{Kind, Metric};

const fn metric(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind, labels, help }
}

const DEVICE: &[&str] = &["device"];
const FILE_SYSTEM: &[&str] = &["device", "fstype", "mountpoint"];
const INTERFACE: &[&str] = &["name", "interface"];
const NAME: &[&str] = &["name"];
const NONE: &[&str] = &[];
const SLOT: &[&str] = &["slot"];

pub(super) static FERRITE_BUILD_INFO: Metric = metric(
    "ferrite_build_info",
    Gauge,
    &["version", "variant", "kernel", "slot"],
    "What runs: OS version, image variant, kernel and slot; always 1.",
);
pub(super) static FERRITE_NODE_READY: Metric = metric(
    "ferrite_node_ready",
    Gauge,
    NONE,
    "Whether the node is as it should be (1) or not (0).",
);
pub(super) static FERRITE_NODE_RESCUE: Metric = metric(
    "ferrite_node_rescue",
    Gauge,
    NONE,
    "Whether the node is in its rescue state, without its STATE.",
);
pub(super) static FERRITE_NODE_WARNINGS: Metric = metric(
    "ferrite_node_warnings",
    Gauge,
    NONE,
    "Things that a person should know: what `ferrite machine status` lists.",
);
pub(super) static FERRITE_SOURCE_UP: Metric = metric(
    "ferrite_source_up",
    Gauge,
    &["source"],
    "Whether a part of the node answered in time: `slots` (PID 1), `etcd`. The figures of one that did not are absent.",
);
pub(super) static NODE_TIME_SECONDS: Metric =
    metric("node_time_seconds", Gauge, NONE, "The node's clock, in seconds since the epoch.");
pub(super) static NODE_BOOT_TIME_SECONDS: Metric = metric(
    "node_boot_time_seconds",
    Gauge,
    NONE,
    "When the kernel started, in seconds since the epoch.",
);
pub(super) static NODE_LOAD1: Metric =
    metric("node_load1", Gauge, NONE, "Load average over one minute.");
pub(super) static NODE_LOAD5: Metric =
    metric("node_load5", Gauge, NONE, "Load average over five minutes.");
pub(super) static NODE_LOAD15: Metric =
    metric("node_load15", Gauge, NONE, "Load average over fifteen minutes.");
pub(super) static NODE_CPU_SECONDS_TOTAL: Metric = metric(
    "node_cpu_seconds_total",
    Counter,
    &["cpu", "mode"],
    "Time that each processor spent in each mode.",
);
pub(super) static NODE_PRESSURE_CPU_WAITING_SECONDS_TOTAL: Metric = metric(
    "node_pressure_cpu_waiting_seconds_total",
    Counter,
    NONE,
    "Time in which something waited for a processor.",
);
pub(super) static NODE_PRESSURE_MEMORY_WAITING_SECONDS_TOTAL: Metric = metric(
    "node_pressure_memory_waiting_seconds_total",
    Counter,
    NONE,
    "Time in which something waited for memory.",
);
pub(super) static NODE_PRESSURE_MEMORY_STALLED_SECONDS_TOTAL: Metric = metric(
    "node_pressure_memory_stalled_seconds_total",
    Counter,
    NONE,
    "Time in which everything waited for memory.",
);
pub(super) static NODE_PRESSURE_IO_WAITING_SECONDS_TOTAL: Metric = metric(
    "node_pressure_io_waiting_seconds_total",
    Counter,
    NONE,
    "Time in which something waited for a disk.",
);
pub(super) static NODE_PRESSURE_IO_STALLED_SECONDS_TOTAL: Metric = metric(
    "node_pressure_io_stalled_seconds_total",
    Counter,
    NONE,
    "Time in which everything waited for a disk.",
);
pub(super) static FERRITE_MEMORY_SIZE_BYTES: Metric = metric(
    "ferrite_memory_size_bytes",
    Gauge,
    NONE,
    "Memory of the machine (node_exporter: `node_memory_MemTotal_bytes`).",
);
pub(super) static FERRITE_MEMORY_AVAILABLE_BYTES: Metric = metric(
    "ferrite_memory_available_bytes",
    Gauge,
    NONE,
    "Memory that programs could still have (node_exporter: `node_memory_MemAvailable_bytes`).",
);
pub(super) static NODE_FILESYSTEM_SIZE_BYTES: Metric =
    metric("node_filesystem_size_bytes", Gauge, FILE_SYSTEM, "Size of STATE.");
pub(super) static NODE_FILESYSTEM_AVAIL_BYTES: Metric = metric(
    "node_filesystem_avail_bytes",
    Gauge,
    FILE_SYSTEM,
    "Space on STATE that units can have.",
);
pub(super) static NODE_FILESYSTEM_FILES: Metric =
    metric("node_filesystem_files", Gauge, FILE_SYSTEM, "Files and folders that STATE can hold.");
pub(super) static NODE_FILESYSTEM_FILES_FREE: Metric = metric(
    "node_filesystem_files_free",
    Gauge,
    FILE_SYSTEM,
    "How many more files and folders STATE can hold for units.",
);
pub(super) static NODE_NETWORK_RECEIVE_BYTES_TOTAL: Metric = metric(
    "node_network_receive_bytes_total",
    Counter,
    DEVICE,
    "Bytes that a link of the node received.",
);
pub(super) static NODE_NETWORK_RECEIVE_PACKETS_TOTAL: Metric = metric(
    "node_network_receive_packets_total",
    Counter,
    DEVICE,
    "Packets that a link of the node received.",
);
pub(super) static NODE_NETWORK_RECEIVE_ERRS_TOTAL: Metric = metric(
    "node_network_receive_errs_total",
    Counter,
    DEVICE,
    "Packets that a link of the node could not have received for an error.",
);
pub(super) static NODE_NETWORK_RECEIVE_DROP_TOTAL: Metric = metric(
    "node_network_receive_drop_total",
    Counter,
    DEVICE,
    "Packets that were dropped before a link of the node received them.",
);
pub(super) static NODE_NETWORK_TRANSMIT_BYTES_TOTAL: Metric = metric(
    "node_network_transmit_bytes_total",
    Counter,
    DEVICE,
    "Bytes that a link of the node sent.",
);
pub(super) static NODE_NETWORK_TRANSMIT_PACKETS_TOTAL: Metric = metric(
    "node_network_transmit_packets_total",
    Counter,
    DEVICE,
    "Packets that a link of the node sent.",
);
pub(super) static NODE_NETWORK_TRANSMIT_ERRS_TOTAL: Metric = metric(
    "node_network_transmit_errs_total",
    Counter,
    DEVICE,
    "Packets that a link of the node could not have sent for an error.",
);
pub(super) static NODE_NETWORK_TRANSMIT_DROP_TOTAL: Metric = metric(
    "node_network_transmit_drop_total",
    Counter,
    DEVICE,
    "Packets that were dropped before a link of the node sent them.",
);
pub(super) static FERRITE_SLOT_INFO: Metric = metric(
    "ferrite_slot_info",
    Gauge,
    &["slot", "version"],
    "What is in a slot; always 1. The version is empty where no trusted key vouches for the slot.",
);
pub(super) static FERRITE_SLOT_RUNNING: Metric =
    metric("ferrite_slot_running", Gauge, SLOT, "Whether the node runs from this slot.");
pub(super) static FERRITE_SLOT_PRIORITY: Metric = metric(
    "ferrite_slot_priority",
    Gauge,
    SLOT,
    "The slot's priority: of those that can be started the highest is; 0 is never started.",
);
pub(super) static FERRITE_SLOT_TRIES: Metric = metric(
    "ferrite_slot_tries",
    Gauge,
    SLOT,
    "Starts that are left to a slot on trial; of a successful one, 15 less its starts since it was ready last.",
);
pub(super) static FERRITE_SLOT_SUCCESSFUL: Metric = metric(
    "ferrite_slot_successful",
    Gauge,
    SLOT,
    "Whether the node has been ready with this slot.",
);
pub(super) static FERRITE_UNITS: Metric =
    metric("ferrite_units", Gauge, &["state"], "Units in each state.");
pub(super) static FERRITE_UNITS_LEFT_OUT: Metric = metric(
    "ferrite_units_left_out",
    Gauge,
    NONE,
    "Units whose own figures are left out, since there are too many: those with the last names.",
);
pub(super) static FERRITE_UNIT_INFO: Metric = metric(
    "ferrite_unit_info",
    Gauge,
    &["name", "image", "origin"],
    "A unit, its image, and who wants it: `local`, `cluster` or `system`; always 1.",
);
pub(super) static FERRITE_UNIT_STATE: Metric = metric(
    "ferrite_unit_state",
    Gauge,
    &["name", "state"],
    "1 for the state that a unit is in, and 0 for each other one.",
);
pub(super) static FERRITE_UNIT_STATE_SINCE_TIMESTAMP_SECONDS: Metric = metric(
    "ferrite_unit_state_since_timestamp_seconds",
    Gauge,
    NAME,
    "When the unit's state began, in seconds since the epoch.",
);
pub(super) static FERRITE_UNIT_READY: Metric =
    metric("ferrite_unit_ready", Gauge, NAME, "Whether others that wait for the unit may go on.");
pub(super) static FERRITE_UNIT_WANTED: Metric =
    metric("ferrite_unit_wanted", Gauge, NAME, "Whether the unit should run.");
pub(super) static FERRITE_UNIT_HEALTHY: Metric = metric(
    "ferrite_unit_healthy",
    Gauge,
    NAME,
    "Whether the unit's health check says that it is well; absent where it has none or does not run.",
);
pub(super) static FERRITE_UNIT_RESTARTS_TOTAL: Metric =
    metric("ferrite_unit_restarts_total", Counter, NAME, "Starts of the unit after the first.");
pub(super) static CONTAINER_CPU_USAGE_SECONDS_TOTAL: Metric = metric(
    "container_cpu_usage_seconds_total",
    Counter,
    NAME,
    "Processor time that the container used since it started.",
);
pub(super) static CONTAINER_MEMORY_WORKING_SET_BYTES: Metric = metric(
    "container_memory_working_set_bytes",
    Gauge,
    NAME,
    "Memory of the container, without cached files that could be dropped at once.",
);
pub(super) static CONTAINER_MEMORY_TOTAL_INACTIVE_FILE_BYTES: Metric = metric(
    "container_memory_total_inactive_file_bytes",
    Gauge,
    NAME,
    "Cached files of the container that could be dropped at once.",
);
pub(super) static CONTAINER_SPEC_MEMORY_LIMIT_BYTES: Metric = metric(
    "container_spec_memory_limit_bytes",
    Gauge,
    NAME,
    "The most memory that the container may have; absent where it is unbounded.",
);
pub(super) static CONTAINER_OOM_EVENTS_TOTAL: Metric = metric(
    "container_oom_events_total",
    Counter,
    NAME,
    "Times that the kernel killed something in the container for want of memory.",
);
pub(super) static CONTAINER_THREADS: Metric =
    metric("container_threads", Gauge, NAME, "Processes and threads of the container.");
pub(super) static CONTAINER_THREADS_MAX: Metric = metric(
    "container_threads_max",
    Gauge,
    NAME,
    "The most processes and threads that the container may have; absent where they are unbounded.",
);
pub(super) static CONTAINER_FS_READS_BYTES_TOTAL: Metric = metric(
    "container_fs_reads_bytes_total",
    Counter,
    NAME,
    "Bytes that the container read from disks.",
);
pub(super) static CONTAINER_FS_WRITES_BYTES_TOTAL: Metric = metric(
    "container_fs_writes_bytes_total",
    Counter,
    NAME,
    "Bytes that the container wrote to disks.",
);
pub(super) static CONTAINER_FS_USAGE_BYTES: Metric = metric(
    "container_fs_usage_bytes",
    Gauge,
    NAME,
    "Space that the container's root takes on STATE, beyond its image.",
);
pub(super) static CONTAINER_FS_LIMIT_BYTES: Metric = metric(
    "container_fs_limit_bytes",
    Gauge,
    NAME,
    "The most space that it may take; absent where it is unbounded.",
);
pub(super) static FERRITE_UNIT_FILES: Metric = metric(
    "ferrite_unit_files",
    Gauge,
    NAME,
    "Files and folders of the container's root on STATE, beyond its image.",
);
pub(super) static FERRITE_UNIT_FILES_LIMIT: Metric = metric(
    "ferrite_unit_files_limit",
    Gauge,
    NAME,
    "The most files and folders that it may have; absent where they are unbounded.",
);
pub(super) static CONTAINER_NETWORK_RECEIVE_BYTES_TOTAL: Metric = metric(
    "container_network_receive_bytes_total",
    Counter,
    INTERFACE,
    "Bytes that the container received.",
);
pub(super) static CONTAINER_NETWORK_RECEIVE_PACKETS_TOTAL: Metric = metric(
    "container_network_receive_packets_total",
    Counter,
    INTERFACE,
    "Packets that the container received.",
);
pub(super) static CONTAINER_NETWORK_RECEIVE_ERRORS_TOTAL: Metric = metric(
    "container_network_receive_errors_total",
    Counter,
    INTERFACE,
    "Packets that the container could not have received for an error.",
);
pub(super) static CONTAINER_NETWORK_RECEIVE_PACKETS_DROPPED_TOTAL: Metric = metric(
    "container_network_receive_packets_dropped_total",
    Counter,
    INTERFACE,
    "Packets that were dropped before the container received them.",
);
pub(super) static CONTAINER_NETWORK_TRANSMIT_BYTES_TOTAL: Metric = metric(
    "container_network_transmit_bytes_total",
    Counter,
    INTERFACE,
    "Bytes that the container sent.",
);
pub(super) static CONTAINER_NETWORK_TRANSMIT_PACKETS_TOTAL: Metric = metric(
    "container_network_transmit_packets_total",
    Counter,
    INTERFACE,
    "Packets that the container sent.",
);
pub(super) static CONTAINER_NETWORK_TRANSMIT_ERRORS_TOTAL: Metric = metric(
    "container_network_transmit_errors_total",
    Counter,
    INTERFACE,
    "Packets that the container could not have sent for an error.",
);
pub(super) static CONTAINER_NETWORK_TRANSMIT_PACKETS_DROPPED_TOTAL: Metric = metric(
    "container_network_transmit_packets_dropped_total",
    Counter,
    INTERFACE,
    "Packets that were dropped before the container sent them.",
);
pub(super) static FERRITE_CLUSTER_INFO: Metric = metric(
    "ferrite_cluster_info",
    Gauge,
    &["cluster", "id", "machine"],
    "The cluster that the node belongs to: its name, its ID, and the node's; always 1.",
);
pub(super) static FERRITE_CLUSTER_MEMBERS: Metric = metric(
    "ferrite_cluster_members",
    Gauge,
    NONE,
    "Machines that run etcd, as far as this node has heard.",
);
pub(super) static FERRITE_CLUSTER_MEMBER: Metric =
    metric("ferrite_cluster_member", Gauge, NONE, "Whether this node is one of them.");
pub(super) static FERRITE_CLUSTER_MACHINES: Metric = metric(
    "ferrite_cluster_machines",
    Gauge,
    NONE,
    "Machines of the cluster's network, as far as this node has heard.",
);
pub(super) static FERRITE_CLUSTER_SERVICES: Metric =
    metric("ferrite_cluster_services", Gauge, NONE, "Services that this node knows.");
pub(super) static FERRITE_CLUSTER_READY_INSTANCES: Metric = metric(
    "ferrite_cluster_ready_instances",
    Gauge,
    NONE,
    "Instances of services that this node answers units with.",
);
pub(super) static FERRITE_CLUSTER_CURRENT: Metric = metric(
    "ferrite_cluster_current",
    Gauge,
    NONE,
    "Whether what this node knows of the cluster is so now, and not what it heard last.",
);
pub(super) static FERRITE_CLUSTER_LAG_SECONDS: Metric = metric(
    "ferrite_cluster_lag_seconds",
    Gauge,
    NONE,
    "How long ago what this node knows of the cluster was certain; 0 where it is now.",
);
pub(super) static ETCD_SERVER_HAS_LEADER: Metric = metric(
    "etcd_server_has_leader",
    Gauge,
    NONE,
    "Whether this node's etcd knows a leader, by etcd's own name.",
);
pub(super) static ETCD_SERVER_IS_LEADER: Metric = metric(
    "etcd_server_is_leader",
    Gauge,
    NONE,
    "Whether this node's etcd leads, and its agent decides for the cluster.",
);
pub(super) static ETCD_SERVER_IS_LEARNER: Metric = metric(
    "etcd_server_is_learner",
    Gauge,
    NONE,
    "Whether this node's etcd learns still, and has no vote.",
);
pub(super) static ETCD_MVCC_DB_TOTAL_SIZE_IN_BYTES: Metric =
    metric("etcd_mvcc_db_total_size_in_bytes", Gauge, NONE, "Size of etcd's file.");
pub(super) static ETCD_MVCC_DB_TOTAL_SIZE_IN_USE_IN_BYTES: Metric = metric(
    "etcd_mvcc_db_total_size_in_use_in_bytes",
    Gauge,
    NONE,
    "How much of etcd's file is used.",
);
pub(super) static FERRITE_ETCD_RAFT_TERM: Metric =
    metric("ferrite_etcd_raft_term", Gauge, NONE, "Rises with every election.");
pub(super) static FERRITE_ETCD_RAFT_INDEX: Metric = metric(
    "ferrite_etcd_raft_index",
    Gauge,
    NONE,
    "The last entry that this node's etcd has heard of.",
);
pub(super) static FERRITE_ETCD_RAFT_APPLIED_INDEX: Metric = metric(
    "ferrite_etcd_raft_applied_index",
    Gauge,
    NONE,
    "The last entry that is in its data; it lags behind by the difference.",
);
pub(super) static FERRITE_ETCD_REVISION: Metric =
    metric("ferrite_etcd_revision", Gauge, NONE, "Revision of its data.");
pub(super) static FERRITE_ETCD_PROBLEMS: Metric = metric(
    "ferrite_etcd_problems",
    Gauge,
    NONE,
    "Alarms of this etcd, and what else it says is wrong.",
);

/// All of them.
#[cfg(test)]
pub(super) static ALL: &[&Metric] = &[
    &FERRITE_BUILD_INFO,
    &FERRITE_NODE_READY,
    &FERRITE_NODE_RESCUE,
    &FERRITE_NODE_WARNINGS,
    &FERRITE_SOURCE_UP,
    &NODE_TIME_SECONDS,
    &NODE_BOOT_TIME_SECONDS,
    &NODE_LOAD1,
    &NODE_LOAD5,
    &NODE_LOAD15,
    &NODE_CPU_SECONDS_TOTAL,
    &NODE_PRESSURE_CPU_WAITING_SECONDS_TOTAL,
    &NODE_PRESSURE_MEMORY_WAITING_SECONDS_TOTAL,
    &NODE_PRESSURE_MEMORY_STALLED_SECONDS_TOTAL,
    &NODE_PRESSURE_IO_WAITING_SECONDS_TOTAL,
    &NODE_PRESSURE_IO_STALLED_SECONDS_TOTAL,
    &FERRITE_MEMORY_SIZE_BYTES,
    &FERRITE_MEMORY_AVAILABLE_BYTES,
    &NODE_FILESYSTEM_SIZE_BYTES,
    &NODE_FILESYSTEM_AVAIL_BYTES,
    &NODE_FILESYSTEM_FILES,
    &NODE_FILESYSTEM_FILES_FREE,
    &NODE_NETWORK_RECEIVE_BYTES_TOTAL,
    &NODE_NETWORK_RECEIVE_PACKETS_TOTAL,
    &NODE_NETWORK_RECEIVE_ERRS_TOTAL,
    &NODE_NETWORK_RECEIVE_DROP_TOTAL,
    &NODE_NETWORK_TRANSMIT_BYTES_TOTAL,
    &NODE_NETWORK_TRANSMIT_PACKETS_TOTAL,
    &NODE_NETWORK_TRANSMIT_ERRS_TOTAL,
    &NODE_NETWORK_TRANSMIT_DROP_TOTAL,
    &FERRITE_SLOT_INFO,
    &FERRITE_SLOT_RUNNING,
    &FERRITE_SLOT_PRIORITY,
    &FERRITE_SLOT_TRIES,
    &FERRITE_SLOT_SUCCESSFUL,
    &FERRITE_UNITS,
    &FERRITE_UNITS_LEFT_OUT,
    &FERRITE_UNIT_INFO,
    &FERRITE_UNIT_STATE,
    &FERRITE_UNIT_STATE_SINCE_TIMESTAMP_SECONDS,
    &FERRITE_UNIT_READY,
    &FERRITE_UNIT_WANTED,
    &FERRITE_UNIT_HEALTHY,
    &FERRITE_UNIT_RESTARTS_TOTAL,
    &CONTAINER_CPU_USAGE_SECONDS_TOTAL,
    &CONTAINER_MEMORY_WORKING_SET_BYTES,
    &CONTAINER_MEMORY_TOTAL_INACTIVE_FILE_BYTES,
    &CONTAINER_SPEC_MEMORY_LIMIT_BYTES,
    &CONTAINER_OOM_EVENTS_TOTAL,
    &CONTAINER_THREADS,
    &CONTAINER_THREADS_MAX,
    &CONTAINER_FS_READS_BYTES_TOTAL,
    &CONTAINER_FS_WRITES_BYTES_TOTAL,
    &CONTAINER_FS_USAGE_BYTES,
    &CONTAINER_FS_LIMIT_BYTES,
    &FERRITE_UNIT_FILES,
    &FERRITE_UNIT_FILES_LIMIT,
    &CONTAINER_NETWORK_RECEIVE_BYTES_TOTAL,
    &CONTAINER_NETWORK_RECEIVE_PACKETS_TOTAL,
    &CONTAINER_NETWORK_RECEIVE_ERRORS_TOTAL,
    &CONTAINER_NETWORK_RECEIVE_PACKETS_DROPPED_TOTAL,
    &CONTAINER_NETWORK_TRANSMIT_BYTES_TOTAL,
    &CONTAINER_NETWORK_TRANSMIT_PACKETS_TOTAL,
    &CONTAINER_NETWORK_TRANSMIT_ERRORS_TOTAL,
    &CONTAINER_NETWORK_TRANSMIT_PACKETS_DROPPED_TOTAL,
    &FERRITE_CLUSTER_INFO,
    &FERRITE_CLUSTER_MEMBERS,
    &FERRITE_CLUSTER_MEMBER,
    &FERRITE_CLUSTER_MACHINES,
    &FERRITE_CLUSTER_SERVICES,
    &FERRITE_CLUSTER_READY_INSTANCES,
    &FERRITE_CLUSTER_CURRENT,
    &FERRITE_CLUSTER_LAG_SECONDS,
    &ETCD_SERVER_HAS_LEADER,
    &ETCD_SERVER_IS_LEADER,
    &ETCD_SERVER_IS_LEARNER,
    &ETCD_MVCC_DB_TOTAL_SIZE_IN_BYTES,
    &ETCD_MVCC_DB_TOTAL_SIZE_IN_USE_IN_BYTES,
    &FERRITE_ETCD_RAFT_TERM,
    &FERRITE_ETCD_RAFT_INDEX,
    &FERRITE_ETCD_RAFT_APPLIED_INDEX,
    &FERRITE_ETCD_REVISION,
    &FERRITE_ETCD_PROBLEMS,
];
