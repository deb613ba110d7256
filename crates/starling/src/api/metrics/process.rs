//! The process's own numbers, by the names that Prometheus clients give them. Read from `/proc`; elsewhere left out.

use std::fs;

use super::exposition::{Families, Kind, Value};

/// What `/proc/*/stat` counts in: `USER_HZ`, which Linux fixes for programs whatever the kernel's own clock is.
const TICKS_PER_SECOND: f64 = 100.0;

/// What could be found out.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Process {
    cpu_seconds: Option<f64>,
    /// Unix time.
    start_seconds: Option<f64>,
    resident_bytes: Option<u64>,
    virtual_bytes: Option<u64>,
    open_files: Option<u64>,
    max_files: Option<u64>,
}

/// Looks at this process. Reads files.
pub(super) fn look() -> Process {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let mut process = Process::parse(
        &read("/proc/self/stat"),
        &read("/proc/stat"),
        &read("/proc/self/status"),
        &read("/proc/self/limits"),
    );
    process.open_files = open_files();
    process
}

impl Process {
    fn parse(stat: &str, system: &str, status: &str, limits: &str) -> Self {
        // The second field is the name of the program in brackets, in which anything may stand.
        let fields: Vec<f64> = stat
            .rsplit_once(") ")
            .map(|(_, fields)| fields.split(' ').map(|field| field.parse().unwrap_or(0.0)).collect())
            .unwrap_or_default();
        // The first of these is field 3 of proc_pid_stat(5): utime is 14, stime 15, starttime 22.
        let field = |number: usize| fields.get(number - 3).map(|ticks| ticks / TICKS_PER_SECOND);
        let boot = system.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
        Self {
            cpu_seconds: field(14).zip(field(15)).map(|(user, system)| user + system),
            start_seconds: field(22).zip(boot).map(|(start, boot)| start + boot),
            resident_bytes: kilobytes(status, "VmRSS:"),
            virtual_bytes: kilobytes(status, "VmSize:"),
            open_files: None,
            max_files: limits
                .lines()
                .find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok()),
        }
    }

    /// Adds what is known.
    pub fn tell(&self, families: &mut Families) {
        let mut tell = |kind, name, help, value: Option<Value>| {
            if let Some(value) = value {
                families.add(kind, name, help).sample([], value);
            }
        };
        let resident = "Resident memory, in bytes.";
        tell(Kind::Gauge, "process_resident_memory_bytes", resident, self.resident_bytes.map(Value::from));
        let virtually = "Virtual memory, in bytes.";
        tell(Kind::Gauge, "process_virtual_memory_bytes", virtually, self.virtual_bytes.map(Value::from));
        let cpu = "Processor time of the program and of the kernel for it, in seconds.";
        tell(Kind::Counter, "process_cpu_seconds", cpu, self.cpu_seconds.map(Value::from));
        tell(Kind::Gauge, "process_open_fds", "Open file descriptors.", self.open_files.map(Value::from));
        let most = "File descriptors that may be open (soft limit).";
        tell(Kind::Gauge, "process_max_fds", most, self.max_files.map(Value::from));
        let start = "When the process started, in Unix seconds.";
        tell(Kind::Gauge, "process_start_time_seconds", start, self.start_seconds.map(Value::from));
    }
}

fn kilobytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

fn open_files() -> Option<u64> {
    // Since Linux 6.2 the folder's size is their number, which saves counting a million of them.
    match fs::metadata("/proc/self/fd").ok()?.len() {
        0 => fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64),
        count => Some(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 3 0 12345 1000 10 18446744073709551615";
        let process = Process::parse(
            stat,
            "cpu 1 2 3\nbtime 1700000000\nprocesses 1\n",
            "Name:\ta\nVmSize:\t    2048 kB\nVmRSS:\t    1024 kB\n",
            "Max open files            1024                 524288               files     \n",
        );
        let expected = Process {
            cpu_seconds: Some(2.0),
            start_seconds: Some(1_700_000_123.45),
            resident_bytes: Some(1 << 20),
            virtual_bytes: Some(2 << 20),
            open_files: None,
            max_files: Some(1024),
        };
        assert_eq!(process, expected);
        assert_eq!(Process::parse("", "", "", ""), Process::default());
    }
}
