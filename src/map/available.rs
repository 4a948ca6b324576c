//! How much memory there is for pages of files.
//!
//! The least of what the machine has available and what each control group this process is in leaves. A group's pages of
//! files count as available, since they make room for others; what it cannot let go of does not.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of memory for pages of files, in use for them or free; `None` where the system does not say.
pub(crate) fn available_bytes() -> Option<u64> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| kibibytes(&text, "MemAvailable:"));
    let groups = groups.lines().filter_map(|line| left_by_group(line, Path::new("/sys/fs/cgroup")));
    machine.into_iter().chain(groups).min()
}

/// The number after `name` in a list of "name: number kB", in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
}

/// What the group of a line of `/proc/self/cgroup`, and the groups it lies in, leave; `mount` is where groups are files.
fn left_by_group(line: &str, mount: &Path) -> Option<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let (root, files) = match controllers {
        "" => (mount.to_owned(), ["memory.max", "memory.stat", "anon"]),
        _ if controllers.split(',').any(|name| name == "memory") => {
            (mount.join("memory"), ["memory.limit_in_bytes", "memory.stat", "total_rss"])
        }
        _ => return None,
    };
    // From the innermost group out. A container may see its own group as the root.
    let group = root.join(path.trim_start_matches('/'));
    let group = group.ancestors().take_while(|group| group.starts_with(&root));
    group.filter_map(|group| left(group, files)).min()
}

/// The limit of one group less the memory in it that is not of files; `None` if it has none.
fn left(group: &Path, [limit, stat, used]: [&str; 3]) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(PathBuf::from(group).join(name)).ok();
    let limit: u64 = read(limit)?.trim().parse().ok()?;
    let stat = read(stat)?;
    let used = stat.lines().find_map(|line| line.strip_prefix(used)?.strip_prefix(' ')?.trim().parse().ok());
    Some(limit.saturating_sub(used.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_says_what_is_available() {
        let text = "MemTotal:       24683520 kB\nMemFree:         8000000 kB\nMemAvailable:   23000000 kB\n";
        assert_eq!(kibibytes(text, "MemAvailable:"), Some(23_000_000 * 1024));
        assert_eq!(kibibytes(text, "MemNowhere:"), None);
        if cfg!(target_os = "linux") {
            assert!(available_bytes().unwrap() > 1 << 20);
        }
    }

    #[test]
    fn the_tightest_group_counts() {
        let mount = tempfile::tempdir().unwrap();
        let put = |group: &str, files: &[(&str, &str)]| {
            let group = mount.path().join(group);
            fs::create_dir_all(&group).unwrap();
            files.iter().for_each(|(name, text)| fs::write(group.join(name), text).unwrap());
        };
        // The second version: an outer group that is tighter than the inner one.
        put("", &[("memory.max", "1000\n"), ("memory.stat", "anon 300\nfile 500\n")]);
        put("a", &[("memory.max", "max\n"), ("memory.stat", "anon 7\n")]);
        put("a/b", &[("memory.max", "5000\n"), ("memory.stat", "anon_thp 1\nanon 200\n")]);
        let left = |line: &str| left_by_group(line, mount.path());
        assert_eq!(left("0::/a/b"), Some(700));
        assert_eq!(left("0::/no/such/group"), Some(700));
        // The first version.
        put("memory/c", &[("memory.limit_in_bytes", "900\n"), ("memory.stat", "rss 1\ntotal_rss 1000\n")]);
        assert_eq!(left("4:memory:/c"), Some(0));
        assert_eq!(left("4:cpu,memory:/c/d"), Some(0));
        assert_eq!(left("4:memory:/e"), None);
        assert_eq!(left("3:cpuset:/c"), None);
        assert_eq!(left("nonsense"), None);
    }
}
