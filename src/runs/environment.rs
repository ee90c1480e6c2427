//! What explains a number and never invalidates it: the build, the machine, the call.

use crate::device::choice;
use crate::gpu::detect;
use crate::gpu::probe::Wanted;
use compute::simd::Level;
use serde_json::{Value, json};

/// The record of this process.
pub fn record(threads: usize, workers: usize, device: &str) -> Value {
    let or_null = |text: &'static str| if text.is_empty() { Value::Null } else { text.into() };
    let gpu = if device == "cpu" { Value::Null } else { json!(gpus()) };
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "commit": or_null(env!("UNMUTE_COMMIT")),
        "dirty": or_null(env!("UNMUTE_DIRTY")),
        "dirty_diff": or_null(include_str!(concat!(env!("OUT_DIR"), "/dirty.diff"))),
        "lock": env!("UNMUTE_LOCK"),
        "code": super::fingerprint::CODE,
        "compiler": env!("UNMUTE_RUSTC"),
        "target": env!("UNMUTE_TARGET"),
        "profile": env!("UNMUTE_PROFILE"),
        "opt_level": env!("UNMUTE_OPT"),
        "flags": env!("UNMUTE_FLAGS"),
        "target_features": env!("UNMUTE_TARGET_FEATURES"),
        "features": env!("UNMUTE_FEATURES"),
        "os": os(),
        "host": host(),
        "folder": std::env::current_dir().ok(),
        "cpu": cpu(),
        "cpu_features": cpu_features(),
        "cores": std::thread::available_parallelism().map_or(1, |n| n.get()),
        "threads": threads,
        "workers": workers,
        "memory_bytes": proc_kib("/proc/meminfo", "MemTotal:").map(|k| k * 1024),
        "device": device,
        "numerics": numerics(device),
        "slurm": slurm(|name| std::env::var(name).ok()),
        "gpu": gpu,
        "cuda": cuda(device),
        "driver": if device == "cpu" { None } else { driver() },
    })
}

/// What decides the last bits of numbers beside what a run's id covers: the GPU, or the vectors that the CPU's code uses.
pub fn numerics(device: &str) -> &'static str {
    if device.starts_with("cuda") {
        return "cuda";
    }
    match compute::simd::level() {
        Level::Scalar => "scalar",
        Level::Neon => "neon",
        Level::Avx2 => "avx2",
        Level::Avx512 => "avx512",
    }
}

/// What Slurm says of the job that this process is in: job, array, task, node, restarts. Null outside of one.
fn slurm(variable: impl Fn(&str) -> Option<String>) -> Value {
    const TOLD: [&str; 9] = [
        "SLURM_CLUSTER_NAME",
        "SLURM_JOB_ID",
        "SLURM_ARRAY_JOB_ID",
        "SLURM_ARRAY_TASK_ID",
        "SLURM_JOB_NAME",
        "SLURM_JOB_PARTITION",
        "SLURMD_NODENAME",
        "SLURM_CPUS_PER_TASK",
        "SLURM_RESTART_COUNT",
    ];
    variable("SLURM_JOB_ID").map_or(Value::Null, |_| {
        TOLD.iter().filter_map(|name| Some(((*name).to_string(), Value::from(variable(name)?)))).collect()
    })
}

/// What the driver tells of the GPU that a device is; null for the CPU.
fn cuda(device: &str) -> Option<Value> {
    choice::facts(device, &detect::find(Wanted::parse(device)?))
}

/// Models of the GPUs that NVIDIA's driver knows, in the order of their PCI addresses.
fn gpus() -> Vec<String> {
    let mut folders: Vec<_> = std::fs::read_dir("/proc/driver/nvidia/gpus").into_iter().flatten().flatten().collect();
    folders.sort_by_key(|f| f.file_name());
    let model = |text: String| text.lines().find_map(|l| l.strip_prefix("Model:")).map(|m| m.trim().to_string());
    folders.iter().filter_map(|f| std::fs::read_to_string(f.path().join("information")).ok().and_then(model)).collect()
}

/// The version of NVIDIA's driver.
fn driver() -> Option<String> {
    let text = std::fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    Some(text.lines().next()?.trim_start_matches("NVRM version:").split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The machine's name.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The boot of this machine and the PID namespace of this process: what a pid means something within.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim().to_string());
    let boot = read("/proc/sys/kernel/random/boot_id").or_else(boot_time).unwrap_or_default();
    let namespace = std::fs::read_link("/proc/self/ns/pid").map(|link| link.to_string_lossy().into_owned());
    format!("{boot} {}", namespace.unwrap_or_default()).trim().to_string()
}

/// When this machine was booted, in seconds since 1970.
fn boot_time() -> Option<String> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime ")).map(|time| time.trim().to_string())
}

/// An id that no other process has, drawn when it is first asked for.
pub fn worker_id() -> String {
    use std::hash::{BuildHasher, Hasher};
    static ID: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let drawn = || {
        // Keys of hash maps are drawn from the system's random numbers.
        let half = || std::collections::hash_map::RandomState::new().build_hasher().finish();
        let text = format!("{} {} {} {}", half(), half(), std::process::id(), crate::store::now());
        blake3::hash(text.as_bytes()).to_hex().as_str()[..32].to_string()
    };
    ID.get_or_init(drawn).clone()
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
            ("sse4.2", std::arch::is_x86_feature_detected!("sse4.2")),
            ("avx", std::arch::is_x86_feature_detected!("avx")),
            ("avx2", std::arch::is_x86_feature_detected!("avx2")),
            ("fma", std::arch::is_x86_feature_detected!("fma")),
            ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
            ("avx512bw", std::arch::is_x86_feature_detected!("avx512bw")),
            ("avx512vl", std::arch::is_x86_feature_detected!("avx512vl")),
            ("avx512_bf16", std::arch::is_x86_feature_detected!("avx512bf16")),
        ];
        known.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        if cfg!(target_arch = "aarch64") { vec!["neon"] } else { Vec::new() }
    }
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

/// Whether a process of this machine still runs. One that has ended, and whose parent has not asked how, does not.
pub fn process_runs(pid: i64) -> bool {
    let known = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    known.is_some_and(|known| !matches!(rustix::process::test_kill_process(known), Err(rustix::io::Errno::SRCH)))
        && !stat(pid).is_some_and(|words| matches!(words.first().map(String::as_str), Some("Z" | "X")))
}

/// Whether a process of this machine is stopped, and may never go on.
pub fn process_stopped(pid: i64) -> bool {
    stat(pid).is_some_and(|words| matches!(words.first().map(String::as_str), Some("T" | "t")))
}

/// The words of `/proc/PID/stat` from the state on, where the system has it.
fn stat(pid: i64) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything.
    Some(stat.rsplit_once(')')?.1.split_whitespace().map(String::from).collect())
}

/// Ticks a second in /proc; Linux shows 100 of them to programs whatever the kernel counts.
const USER_HZ: i64 = 100;

/// When a process of this machine began, as the store writes times, to the second and rather too early. `None`
/// where the system does not say.
pub fn process_began(pid: i64) -> Option<String> {
    // In ticks since boot.
    let ticks: i64 = stat(pid)?.get(19)?.parse().ok()?;
    let boot: i64 = boot_time()?.parse().ok()?;
    Some(crate::store::timestamp(boot + ticks / USER_HZ - 2, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_of_slurm_is_told_and_nothing_outside_of_one() {
        assert_eq!(slurm(|name| (name == "SLURM_CLUSTER_NAME").then(|| "box".into())), Value::Null);
        let told = slurm(|name| match name {
            "SLURM_JOB_ID" => Some("12".into()),
            "SLURMD_NODENAME" => Some("n1".into()),
            _ => None,
        });
        assert_eq!(told, json!({ "SLURM_JOB_ID": "12", "SLURMD_NODENAME": "n1" }));
    }

    #[test]
    fn this_process_runs_and_began_before_now() {
        let pid = i64::from(std::process::id());
        assert!(process_runs(pid) && !process_runs(i64::MAX));
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(!process_runs(i64::from(ended.id())), "it waits for its parent only");
        ended.wait().unwrap();
        assert!(process_began(pid).is_none_or(|began| began < crate::store::now()));
    }
}
