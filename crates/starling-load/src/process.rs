//! What the kernel knows of a process: processor time and resident memory, from `/proc`.

use std::{collections::HashMap, fs, io, time::Duration};

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The processor time of every thread of a process at one moment.
#[derive(Debug, Default)]
pub struct CpuTime {
    threads: HashMap<u32, u64>,
}

impl CpuTime {
    /// Reads the nanoseconds that each thread of `pid` has been running, in user space and in the kernel.
    ///
    /// The scheduler counts these, so they are exact where `utime` and `stime` come in ticks of 10 ms.
    ///
    /// # Errors
    /// Fails when the process is gone.
    pub fn of(pid: u32) -> Result<Self> {
        let mut threads = HashMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid} is gone"))? {
            let entry = entry?;
            // A thread may end between being listed and being read.
            let Ok(stat) = fs::read_to_string(entry.path().join("schedstat")) else {
                continue;
            };
            let ran = stat.split_whitespace().next().and_then(|ns| ns.parse().ok());
            if let (Some(tid), Some(ran)) = (entry.file_name().to_str().and_then(|tid| tid.parse().ok()), ran) {
                threads.insert(tid, ran);
            }
        }
        Ok(Self { threads })
    }

    /// The time that was used since `earlier`, by threads that still run.
    pub fn since(&self, earlier: &Self) -> Duration {
        let used = self.threads.iter().map(|(tid, ran)| ran.saturating_sub(*earlier.threads.get(tid).unwrap_or(&0)));
        Duration::from_nanos(used.sum())
    }
}

/// Resident memory of `pid` in bytes.
///
/// # Errors
/// Fails when the process is gone.
pub fn resident(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let rollup = fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).context("no Rss in smaps_rollup")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024)
}

/// Raises the number of descriptors this process may have to what the system allows, and returns it.
///
/// # Errors
/// Fails when the system refuses.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_time_and_memory() {
        let pid = std::process::id();
        let before = CpuTime::of(pid).unwrap();
        assert!(before.since(&CpuTime::default()) > Duration::ZERO);
        assert!(resident(pid).unwrap() > 100_000);
        assert!(raise_descriptor_limit().unwrap() > 0);
    }
}
