//! The kernel's figures of a process and of the machine, in bytes.

use crate::Result;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::time::Duration;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Process {
    /// User memory, including the pages of the program file. It is the figure of `VmRSS`, but counted page by
    /// page: the counter of `VmRSS` lags by up to 256 KiB.
    pub(crate) resident: u64,
    /// The maximum so far.
    pub(crate) peak: u64,
    pub(crate) threads: u64,
}

impl Process {
    pub(crate) fn of(pid: u32) -> Result<Process> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        Ok(Process {
            resident: number(&rollup, "Rss:")? * 1024,
            peak: number(&status, "VmHWM:")? * 1024,
            threads: number(&status, "Threads:")?,
        })
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    pub(crate) total: u64,
    pub(crate) available: u64,
    /// Memory that is neither free nor a cache of files. `MemAvailable` would be wrong: it treats the inodes
    /// of sockets as a cache that can be dropped.
    pub(crate) used: u64,
    pub(crate) slab: u64,
}

impl Machine {
    pub(crate) fn now() -> Result<Machine> {
        let text = fs::read_to_string("/proc/meminfo")?;
        let bytes = |name| Ok::<_, Box<dyn std::error::Error>>(number(&text, name)? * 1024);
        let total = bytes("MemTotal:")?;
        Ok(Machine {
            total,
            available: bytes("MemAvailable:")?,
            used: total - bytes("MemFree:")? - bytes("Buffers:")? - bytes("Cached:")?,
            slab: bytes("Slab:")?,
        })
    }
}

/// CPU time of a process of one thread so far.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let schedstat = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    Ok(Duration::from_nanos(schedstat.split(' ').next().unwrap_or_default().parse()?))
}

/// Number of sockets on this local port, by state: whether the kernel has reported an end (`CLOSE_WAIT`) or
/// does not know of it (`ESTABLISHED`).
pub(crate) fn tcp_states(port: u16) -> Result<String> {
    let port = format!(":{port:04X}");
    let mut counts = BTreeMap::new();
    for line in BufReader::new(File::open("/proc/net/tcp")?).lines() {
        let line = line?;
        let mut fields = line.split_whitespace().skip(1);
        if let (Some(local), Some(state)) = (fields.next(), fields.nth(1))
            && local.ends_with(&port)
        {
            let state = match state {
                "01" => "ESTABLISHED".to_owned(),
                "08" => "CLOSE_WAIT".to_owned(),
                "0A" => continue,
                other => format!("state 0x{other}"),
            };
            *counts.entry(state).or_insert(0_usize) += 1;
        }
    }
    Ok(format!("{counts:?}"))
}

fn number(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or(name)?;
    Ok(line.split_whitespace().next().ok_or(name)?.parse()?)
}
