//! The kernel's figures of a process and of the machine.

use crate::Result;
use std::fs;
use std::ops::Sub;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// CPU time of a process so far, or between two samples.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu {
    /// To the nanosecond, from schedstat.
    pub(crate) nanos: u64,
    /// The split. The kernel samples it in ticks: good for a ratio over seconds, not for a sum.
    user_ticks: u64,
    system_ticks: u64,
}

impl Cpu {
    /// The part spent in the kernel, 0 to 1.
    pub(crate) fn system_share(self) -> f64 {
        let ticks = self.user_ticks + self.system_ticks;
        if ticks == 0 { f64::NAN } else { self.system_ticks as f64 / ticks as f64 }
    }
}

impl Sub for Cpu {
    type Output = Cpu;

    fn sub(self, earlier: Cpu) -> Cpu {
        Cpu {
            nanos: self.nanos.saturating_sub(earlier.nanos),
            user_ticks: self.user_ticks.saturating_sub(earlier.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(earlier.system_ticks),
        }
    }
}

/// CPU time of all threads of a process. The kernel updates the figure when a thread stops running, so this
/// waits until no thread runs and the sum is constant. A process that never rests is measured as it is.
pub(crate) fn cpu(pid: u32) -> Result<Cpu> {
    let deadline = Instant::now() + Duration::from_millis(500);
    let mut nanos = 0;
    loop {
        let before = std::mem::replace(&mut nanos, 0);
        let mut running = false;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?.path();
            // A thread may exit between the two samples.
            let (Ok(schedstat), Ok(stat)) =
                (fs::read_to_string(task.join("schedstat")), fs::read_to_string(task.join("stat")))
            else {
                continue;
            };
            nanos += number(schedstat.split(' ').next())?;
            running |= fields(&stat).next() == Some("R");
        }
        if nanos == before && !running || Instant::now() > deadline {
            break;
        }
        std::thread::yield_now();
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let mut times = fields(&stat).skip(11);
    Ok(Cpu { nanos, user_ticks: number(times.next())?, system_ticks: number(times.next())? })
}

/// The fields of a `stat` file from the state on. The name before it may contain spaces.
fn fields(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ')
}

/// User memory of a process, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// `VmRSS`: with the pages of the program file.
    pub(crate) resident: u64,
    /// `RssAnon`: heap and stacks.
    pub(crate) anonymous: u64,
    /// The same, counted page by page: kernels before 6.18 round the counters above by up to 128 KiB a core.
    pub(crate) counted: u64,
}

pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    Ok(Memory {
        resident: kilobytes(&status, "VmRSS:")?,
        anonymous: kilobytes(&status, "RssAnon:")?,
        counted: kilobytes(&smaps, "Anonymous:")?,
    })
}

/// Memory of the kernel's own objects on the whole machine: sockets, files, epoll entries. It is not known
/// for each process.
///
/// As root it counts objects. Otherwise it counts the pages that hold them, which include room that earlier
/// runs have left.
///
/// Waits until the figure is constant, as closed objects are freed with some delay; but not for ever, as
/// other processes may be busy.
pub(crate) fn kernel_memory() -> Result<u64> {
    const LOOK: Duration = Duration::from_millis(100);
    const STILL: u64 = 32 << 10;
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut last = kernel_memory_now()?;
    loop {
        std::thread::sleep(LOOK);
        let now = kernel_memory_now()?;
        if now.abs_diff(last) <= STILL || Instant::now() > deadline {
            return Ok(now);
        }
        last = now;
    }
}

/// Whether [`kernel_memory`] counts objects. These cannot be compared with pages.
pub(crate) fn counts_kernel_objects() -> bool {
    fs::File::open("/proc/slabinfo").is_ok()
}

fn kernel_memory_now() -> Result<u64> {
    let Ok(slabs) = fs::read_to_string("/proc/slabinfo") else {
        return kilobytes(&fs::read_to_string("/proc/meminfo")?, "Slab:");
    };
    // After two header lines: name, objects in use, all objects, bytes of one.
    let objects = slabs.lines().skip(2).map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields[..] {
            // These belong to processes that read /proc, not to connections.
            ["proc_inode_cache", ..] => Ok(0),
            [_, used, _, bytes, ..] => Ok(number(Some(used))? * number(Some(bytes))?),
            _ => Err(format!("/proc/slabinfo has a line {line:?}").into()),
        }
    });
    objects.sum()
}

fn kilobytes(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    Ok(number(line.and_then(|line| line.split_whitespace().next()))? * 1024)
}

pub(crate) fn descriptors(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// The program of a process, to tell a server from a script that did not `exec` it.
pub(crate) fn program(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// Soft and hard limit of open files of this process, which its children inherit.
pub(crate) fn open_files() -> Result<(usize, usize)> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap_or_default();
    let mut limits = line.split_whitespace().map(|limit| match limit {
        "unlimited" => Ok(usize::MAX),
        limit => limit.parse(),
    });
    let mut limit = || limits.next().ok_or("/proc/self/limits has no open files");
    Ok((limit()??, limit()??))
}

/// Number of ports of an address that the kernel hands out.
pub(crate) fn ports() -> Result<usize> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
    let mut ends = range.split_whitespace();
    let (low, high) = (number(ends.next())?, number(ends.next())?);
    Ok(usize::try_from(high.saturating_sub(low) + 1)?)
}

/// CPU time of the whole machine, including stolen time of a virtual machine, in ticks of 10 ms, as on every
/// common Linux.
pub(crate) fn machine_busy() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    let mut busy = 0;
    for (at, ticks) in line.split_whitespace().skip(1).take(8).enumerate() {
        // The fourth and fifth fields are idle time and waiting for disks.
        if !matches!(at, 3 | 4) {
            busy += number(Some(ticks))?;
        }
    }
    Ok(Duration::from_millis(busy * 10))
}

/// The machine in one line. Figures mean nothing without it.
pub(crate) fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown CPU", |(_, model)| model);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // The version is followed by its builder.
    let kernel = kernel.trim().split('-').next().unwrap_or_default();
    format!("{cores} cores of {model}, Linux {kernel}")
}

fn number(text: Option<&str>) -> Result<u64> {
    let text = text.ok_or("/proc misses a number")?.trim();
    Ok(text.parse().map_err(|_| format!("/proc shows {text:?} where a number belongs"))?)
}
