//! Every figure: its name, its labels, what it says. Names are those that node_exporter, cAdvisor and etcd have for the same thing,
//! where `promtool check metrics` takes them, and begin with `ferrite_` otherwise. `docs/metrics.md` lists them.

use super::text::{Kind, Metric};

const DEVICE: &[&str] = &["device"];
const FILE_SYSTEM: &[&str] = &["device", "fstype", "mountpoint"];
const INTERFACE: &[&str] = &["name", "interface"];
const NAME: &[&str] = &["name"];
const NONE: &[&str] = &[];
const SLOT: &[&str] = &["slot"];

/// Each figure as a static, and a list of all, so that none is missing in it.
macro_rules! metrics {
    ($($id:ident $kind:ident $name:literal $labels:expr, $help:literal;)*) => {
        $(pub(super) static $id: Metric =
            Metric { name: $name, kind: Kind::$kind, labels: $labels, help: $help };)*
        #[cfg(test)]
        pub(super) static ALL: &[&Metric] = &[$(&$id),*];
    };
}

metrics! {
    FERRITE_BUILD_INFO Gauge "ferrite_build_info" &["version", "variant", "kernel", "slot"],
        "What runs: OS version, image variant, kernel and slot; always 1.";
    FERRITE_NODE_READY Gauge "ferrite_node_ready" NONE,
        "Whether the node is as it should be (1) or not (0).";
    FERRITE_NODE_RESCUE Gauge "ferrite_node_rescue" NONE,
        "Whether the node is in its rescue state, without its STATE.";
    FERRITE_NODE_WARNINGS Gauge "ferrite_node_warnings" NONE,
        "Things that a person should know: what `ferrite machine status` lists.";
    FERRITE_SOURCE_UP Gauge "ferrite_source_up" &["source"],
        "Whether a part of the node answered in time: `slots` (PID 1), `etcd`. The figures of one that did not are absent.";
    NODE_TIME_SECONDS Gauge "node_time_seconds" NONE,
        "The node's clock, in seconds since the epoch.";
    NODE_BOOT_TIME_SECONDS Gauge "node_boot_time_seconds" NONE,
        "When the kernel started, in seconds since the epoch.";
    NODE_LOAD1 Gauge "node_load1" NONE,
        "Load average over one minute.";
    NODE_LOAD5 Gauge "node_load5" NONE,
        "Load average over five minutes.";
    NODE_LOAD15 Gauge "node_load15" NONE,
        "Load average over fifteen minutes.";
    NODE_CPU_SECONDS_TOTAL Counter "node_cpu_seconds_total" &["cpu", "mode"],
        "Time that each processor spent in each mode.";
    NODE_PRESSURE_CPU_WAITING_SECONDS_TOTAL Counter "node_pressure_cpu_waiting_seconds_total" NONE,
        "Time in which something waited for a processor.";
    NODE_PRESSURE_MEMORY_WAITING_SECONDS_TOTAL Counter "node_pressure_memory_waiting_seconds_total" NONE,
        "Time in which something waited for memory.";
    NODE_PRESSURE_MEMORY_STALLED_SECONDS_TOTAL Counter "node_pressure_memory_stalled_seconds_total" NONE,
        "Time in which everything waited for memory.";
    NODE_PRESSURE_IO_WAITING_SECONDS_TOTAL Counter "node_pressure_io_waiting_seconds_total" NONE,
        "Time in which something waited for a disk.";
    NODE_PRESSURE_IO_STALLED_SECONDS_TOTAL Counter "node_pressure_io_stalled_seconds_total" NONE,
        "Time in which everything waited for a disk.";
    FERRITE_MEMORY_SIZE_BYTES Gauge "ferrite_memory_size_bytes" NONE,
        "Memory of the machine (node_exporter: `node_memory_MemTotal_bytes`).";
    FERRITE_MEMORY_AVAILABLE_BYTES Gauge "ferrite_memory_available_bytes" NONE,
        "Memory that programs could still have (node_exporter: `node_memory_MemAvailable_bytes`).";
    NODE_FILESYSTEM_SIZE_BYTES Gauge "node_filesystem_size_bytes" FILE_SYSTEM,
        "Size of STATE.";
    NODE_FILESYSTEM_AVAIL_BYTES Gauge "node_filesystem_avail_bytes" FILE_SYSTEM,
        "Space on STATE that units can have.";
    NODE_FILESYSTEM_FILES Gauge "node_filesystem_files" FILE_SYSTEM,
        "Files and folders that STATE can hold.";
    NODE_FILESYSTEM_FILES_FREE Gauge "node_filesystem_files_free" FILE_SYSTEM,
        "How many more files and folders STATE can hold for units.";
    NODE_NETWORK_RECEIVE_BYTES_TOTAL Counter "node_network_receive_bytes_total" DEVICE,
        "Bytes that a link of the node received.";
    NODE_NETWORK_RECEIVE_PACKETS_TOTAL Counter "node_network_receive_packets_total" DEVICE,
        "Packets that a link of the node received.";
    NODE_NETWORK_RECEIVE_ERRS_TOTAL Counter "node_network_receive_errs_total" DEVICE,
        "Packets that a link of the node could not have received for an error.";
    NODE_NETWORK_RECEIVE_DROP_TOTAL Counter "node_network_receive_drop_total" DEVICE,
        "Packets that were dropped before a link of the node received them.";
    NODE_NETWORK_TRANSMIT_BYTES_TOTAL Counter "node_network_transmit_bytes_total" DEVICE,
        "Bytes that a link of the node sent.";
    NODE_NETWORK_TRANSMIT_PACKETS_TOTAL Counter "node_network_transmit_packets_total" DEVICE,
        "Packets that a link of the node sent.";
    NODE_NETWORK_TRANSMIT_ERRS_TOTAL Counter "node_network_transmit_errs_total" DEVICE,
        "Packets that a link of the node could not have sent for an error.";
    NODE_NETWORK_TRANSMIT_DROP_TOTAL Counter "node_network_transmit_drop_total" DEVICE,
        "Packets that were dropped before a link of the node sent them.";
    FERRITE_SLOT_INFO Gauge "ferrite_slot_info" &["slot", "version"],
        "What is in a slot; always 1. The version is empty where no trusted key vouches for the slot.";
    FERRITE_SLOT_RUNNING Gauge "ferrite_slot_running" SLOT,
        "Whether the node runs from this slot.";
    FERRITE_SLOT_PRIORITY Gauge "ferrite_slot_priority" SLOT,
        "The slot's priority: of those that can be started the highest is; 0 is never started.";
    FERRITE_SLOT_TRIES Gauge "ferrite_slot_tries" SLOT,
        "Starts that are left to a slot on trial; of a successful one, 15 less its starts since it was ready last.";
    FERRITE_SLOT_SUCCESSFUL Gauge "ferrite_slot_successful" SLOT,
        "Whether the node has been ready with this slot.";
    FERRITE_UNITS Gauge "ferrite_units" &["state"],
        "Units in each state.";
    FERRITE_UNITS_LEFT_OUT Gauge "ferrite_units_left_out" NONE,
        "Units whose own figures are left out, since there are too many: those with the last names.";
    FERRITE_UNIT_INFO Gauge "ferrite_unit_info" &["name", "image", "origin"],
        "A unit, its image, and who wants it: `local`, `cluster` or `system`; always 1.";
    FERRITE_UNIT_STATE Gauge "ferrite_unit_state" &["name", "state"],
        "1 for the state that a unit is in, and 0 for each other one.";
    FERRITE_UNIT_STATE_SINCE_TIMESTAMP_SECONDS Gauge "ferrite_unit_state_since_timestamp_seconds" NAME,
        "When the unit's state began, in seconds since the epoch.";
    FERRITE_UNIT_READY Gauge "ferrite_unit_ready" NAME,
        "Whether others that wait for the unit may go on.";
    FERRITE_UNIT_WANTED Gauge "ferrite_unit_wanted" NAME,
        "Whether the unit should run.";
    FERRITE_UNIT_HEALTHY Gauge "ferrite_unit_healthy" NAME,
        "Whether the unit's health check says that it is well; absent where it has none or does not run.";
    FERRITE_UNIT_RESTARTS_TOTAL Counter "ferrite_unit_restarts_total" NAME,
        "Starts of the unit after the first.";
    CONTAINER_CPU_USAGE_SECONDS_TOTAL Counter "container_cpu_usage_seconds_total" NAME,
        "Processor time that the container used since it started.";
    CONTAINER_MEMORY_WORKING_SET_BYTES Gauge "container_memory_working_set_bytes" NAME,
        "Memory of the container, without cached files that could be dropped at once.";
    CONTAINER_MEMORY_TOTAL_INACTIVE_FILE_BYTES Gauge "container_memory_total_inactive_file_bytes" NAME,
        "Cached files of the container that could be dropped at once.";
    CONTAINER_SPEC_MEMORY_LIMIT_BYTES Gauge "container_spec_memory_limit_bytes" NAME,
        "The most memory that the container may have; absent where it is unbounded.";
    CONTAINER_OOM_EVENTS_TOTAL Counter "container_oom_events_total" NAME,
        "Times that the kernel killed something in the container for want of memory.";
    CONTAINER_THREADS Gauge "container_threads" NAME,
        "Processes and threads of the container.";
    CONTAINER_THREADS_MAX Gauge "container_threads_max" NAME,
        "The most processes and threads that the container may have; absent where they are unbounded.";
    CONTAINER_FS_READS_BYTES_TOTAL Counter "container_fs_reads_bytes_total" NAME,
        "Bytes that the container read from disks.";
    CONTAINER_FS_WRITES_BYTES_TOTAL Counter "container_fs_writes_bytes_total" NAME,
        "Bytes that the container wrote to disks.";
    CONTAINER_FS_USAGE_BYTES Gauge "container_fs_usage_bytes" NAME,
        "Space that the container's root takes on STATE, beyond its image.";
    CONTAINER_FS_LIMIT_BYTES Gauge "container_fs_limit_bytes" NAME,
        "The most space that it may take; absent where it is unbounded.";
    FERRITE_UNIT_FILES Gauge "ferrite_unit_files" NAME,
        "Files and folders of the container's root on STATE, beyond its image.";
    FERRITE_UNIT_FILES_LIMIT Gauge "ferrite_unit_files_limit" NAME,
        "The most files and folders that it may have; absent where they are unbounded.";
    CONTAINER_NETWORK_RECEIVE_BYTES_TOTAL Counter "container_network_receive_bytes_total" INTERFACE,
        "Bytes that the container received.";
    CONTAINER_NETWORK_RECEIVE_PACKETS_TOTAL Counter "container_network_receive_packets_total" INTERFACE,
        "Packets that the container received.";
    CONTAINER_NETWORK_RECEIVE_ERRORS_TOTAL Counter "container_network_receive_errors_total" INTERFACE,
        "Packets that the container could not have received for an error.";
    CONTAINER_NETWORK_RECEIVE_PACKETS_DROPPED_TOTAL Counter "container_network_receive_packets_dropped_total" INTERFACE,
        "Packets that were dropped before the container received them.";
    CONTAINER_NETWORK_TRANSMIT_BYTES_TOTAL Counter "container_network_transmit_bytes_total" INTERFACE,
        "Bytes that the container sent.";
    CONTAINER_NETWORK_TRANSMIT_PACKETS_TOTAL Counter "container_network_transmit_packets_total" INTERFACE,
        "Packets that the container sent.";
    CONTAINER_NETWORK_TRANSMIT_ERRORS_TOTAL Counter "container_network_transmit_errors_total" INTERFACE,
        "Packets that the container could not have sent for an error.";
    CONTAINER_NETWORK_TRANSMIT_PACKETS_DROPPED_TOTAL Counter "container_network_transmit_packets_dropped_total" INTERFACE,
        "Packets that were dropped before the container sent them.";
    FERRITE_CLUSTER_INFO Gauge "ferrite_cluster_info" &["cluster", "id", "machine"],
        "The cluster that the node belongs to: its name, its ID, and the node's; always 1.";
    FERRITE_CLUSTER_MEMBERS Gauge "ferrite_cluster_members" NONE,
        "Machines that run etcd, as far as this node has heard.";
    FERRITE_CLUSTER_MEMBER Gauge "ferrite_cluster_member" NONE,
        "Whether this node is one of them.";
    FERRITE_CLUSTER_MACHINES Gauge "ferrite_cluster_machines" NONE,
        "Machines of the cluster's network, as far as this node has heard.";
    FERRITE_CLUSTER_SERVICES Gauge "ferrite_cluster_services" NONE,
        "Services that this node knows.";
    FERRITE_CLUSTER_READY_INSTANCES Gauge "ferrite_cluster_ready_instances" NONE,
        "Instances of services that this node answers units with.";
    FERRITE_CLUSTER_CURRENT Gauge "ferrite_cluster_current" NONE,
        "Whether what this node knows of the cluster is so now, and not what it heard last.";
    FERRITE_CLUSTER_LAG_SECONDS Gauge "ferrite_cluster_lag_seconds" NONE,
        "How long ago what this node knows of the cluster was certain; 0 where it is now.";
    ETCD_SERVER_HAS_LEADER Gauge "etcd_server_has_leader" NONE,
        "Whether this node's etcd knows a leader, by etcd's own name.";
    ETCD_SERVER_IS_LEADER Gauge "etcd_server_is_leader" NONE,
        "Whether this node's etcd leads, and its agent decides for the cluster.";
    ETCD_SERVER_IS_LEARNER Gauge "etcd_server_is_learner" NONE,
        "Whether this node's etcd learns still, and has no vote.";
    ETCD_MVCC_DB_TOTAL_SIZE_IN_BYTES Gauge "etcd_mvcc_db_total_size_in_bytes" NONE,
        "Size of etcd's file.";
    ETCD_MVCC_DB_TOTAL_SIZE_IN_USE_IN_BYTES Gauge "etcd_mvcc_db_total_size_in_use_in_bytes" NONE,
        "How much of etcd's file is used.";
    FERRITE_ETCD_RAFT_TERM Gauge "ferrite_etcd_raft_term" NONE,
        "Rises with every election.";
    FERRITE_ETCD_RAFT_INDEX Gauge "ferrite_etcd_raft_index" NONE,
        "The last entry that this node's etcd has heard of.";
    FERRITE_ETCD_RAFT_APPLIED_INDEX Gauge "ferrite_etcd_raft_applied_index" NONE,
        "The last entry that is in its data; it lags behind by the difference.";
    FERRITE_ETCD_REVISION Gauge "ferrite_etcd_revision" NONE,
        "Revision of its data.";
    FERRITE_ETCD_PROBLEMS Gauge "ferrite_etcd_problems" NONE,
        "Alarms of this etcd, and what else it says is wrong.";
}
