//! What each family is, in the format's words and in a sentence.
//!
//! Guarantees: a name that ends in `_total` is a counter. Never lacks a help: a metric that is not listed
//! here is described by its own name.
//!
//! Example: `of("node_load1")` is `("gauge", "Load average over one minute.")`.

/// Names, or beginnings of names ending in `*`, with their help.
const HELP: [(&str, &str); 34] = [
    (
        "node_boot_time_seconds",
        "When this host was booted, in seconds since 1970.",
    ),
    (
        "node_context_switches_total",
        "Switches from one task to another.",
    ),
    (
        "node_cpu_seconds_total",
        "Time of each processor in each mode.",
    ),
    ("node_disk_io_now", "Requests under way on the disk."),
    (
        "node_disk_io_time_seconds_total",
        "Time in which the disk was busy.",
    ),
    (
        "node_disk_io_time_weighted_seconds_total",
        "Time in which the disk was busy, times the requests under way.",
    ),
    (
        "node_disk_read*",
        "Reads from the disk: requests, bytes, time.",
    ),
    (
        "node_disk_writ*",
        "Writes to the disk: requests, bytes, time.",
    ),
    ("node_filefd_allocated", "Open files of all processes."),
    (
        "node_filefd_maximum",
        "Most files that all processes may open.",
    ),
    ("node_filesystem_avail_bytes", "Space left for everybody."),
    (
        "node_filesystem_files",
        "Files that the file system has room for.",
    ),
    (
        "node_filesystem_files_free",
        "Files that there is room for still.",
    ),
    (
        "node_filesystem_free_bytes",
        "Space left, what is kept for root included.",
    ),
    (
        "node_filesystem_readonly",
        "1 where nothing can be written.",
    ),
    ("node_filesystem_size_bytes", "Size of the file system."),
    ("node_forks_total", "Processes begun."),
    ("node_intr_total", "Interrupts served."),
    ("node_load1", "Load average over one minute."),
    ("node_load5", "Load average over five minutes."),
    ("node_load15", "Load average over fifteen minutes."),
    (
        "node_memory_*",
        "A field of the kernel's memory information.",
    ),
    ("node_netstat_*", "A count of the kernel's TCP."),
    ("node_network_*", "Traffic of the device."),
    (
        "node_pressure_*",
        "Time in which tasks waited for the resource.",
    ),
    (
        "node_processes_max_processes",
        "Most processes that this host can have.",
    ),
    (
        "node_processes_max_threads",
        "Most threads that this host can have.",
    ),
    ("node_processes_pids", "Processes."),
    ("node_processes_threads", "Threads."),
    ("node_procs_blocked", "Tasks that wait for input or output."),
    ("node_procs_running", "Tasks that run or could."),
    (
        "node_time_seconds",
        "This host's clock, in seconds since 1970.",
    ),
    ("node_uname_info", "What system this is; always 1."),
    ("node_vmstat_*", "A count of the kernel's memory events."),
];

/// Type and help of a family.
pub(super) fn of(name: &str) -> (&'static str, &'static str) {
    let kind = if name.ends_with("_total") {
        "counter"
    } else if name.starts_with("node_vmstat_") || name.starts_with("node_netstat_") {
        "untyped"
    } else {
        "gauge"
    };
    let exact = HELP.iter().find(|(known, _)| *known == name);
    let begins = |(known, _): &&(&str, &str)| {
        known
            .strip_suffix('*')
            .is_some_and(|beginning| name.starts_with(beginning))
    };
    let help = exact.or_else(|| HELP.iter().find(begins));
    (kind, help.map_or("As its name says.", |(_, help)| help))
}
