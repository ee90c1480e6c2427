//! What explains a number and never invalidates it: the build, the machine, the call.

use serde_json::{Value, json};

/// The record of this process.
pub fn record(threads: usize, workers: usize, device: &str) -> Value {
    let or_null = |text: &'static str| if text.is_empty() { Value::Null } else { text.into() };
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "commit": or_null(env!("UNMUTE_COMMIT")),
        "dirty": or_null(env!("UNMUTE_DIRTY")),
        "lock": env!("UNMUTE_LOCK"),
        "code": super::fingerprint::CODE,
        "compiler": env!("UNMUTE_RUSTC"),
        "target": env!("UNMUTE_TARGET"),
        "profile": env!("UNMUTE_PROFILE"),
        "os": os(),
        "host": host(),
        "cpu": cpu(),
        "cpu_features": cpu_features(),
        "cores": std::thread::available_parallelism().map_or(1, |n| n.get()),
        "threads": threads,
        "workers": workers,
        "memory_bytes": proc_kib("/proc/meminfo", "MemTotal:").map(|k| k * 1024),
        "device": device,
    })
}

/// The machine's name.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn os() -> String {
    let name = rustix::system::uname();
    format!(
        "{} {} {}",
        name.sysname().to_string_lossy(),
        name.release().to_string_lossy(),
        name.machine().to_string_lossy()
    )
}

fn cpu() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_string())
}

fn cpu_features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        let known = [
            ("avx2", std::arch::is_x86_feature_detected!("avx2")),
            ("fma", std::arch::is_x86_feature_detected!("fma")),
            ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ];
        known.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
    }
    #[cfg(not(target_arch = "x86_64"))]
    Vec::new()
}

/// The most memory this process has held, in bytes, where the system tells.
pub fn peak_memory() -> Option<u64> {
    proc_kib("/proc/self/status", "VmHWM:").map(|k| k * 1024)
}

fn proc_kib(path: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Whether a process of this machine still runs.
pub fn process_runs(pid: i64) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| !matches!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH)))
}

/// Ticks a second in /proc; Linux shows 100 of them to programs whatever the kernel counts.
const USER_HZ: i64 = 100;

/// When a process of this machine began, as the store writes times, to the second and rather too early. `None`
/// where the system does not say.
pub fn process_began(pid: i64) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything; the start, in ticks since boot, is the 20th word behind it.
    let ticks: i64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let boot: i64 =
        std::fs::read_to_string("/proc/stat").ok()?.lines().find_map(|l| l.strip_prefix("btime "))?.parse().ok()?;
    Some(crate::store::timestamp(boot + ticks / USER_HZ - 2, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_runs_and_began_before_now() {
        let pid = i64::from(std::process::id());
        assert!(process_runs(pid) && !process_runs(i64::MAX));
        assert!(process_began(pid).is_none_or(|began| began < crate::store::now()));
    }
}
