//! Made-up trees of /proc and of cgroups.

use super::*;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

struct Tree(TempDir);

impl Tree {
    /// A machine with so much memory available, and a cgroup of version 2 that we are in.
    fn new(available: Option<u64>) -> Tree {
        let tree = Tree(tempfile::tempdir().expect("a directory"));
        tree.put("proc/self/cgroup", "4:cpu:/x\n0::/system.slice/a.service\n");
        tree.put(
            "proc/self/mountinfo",
            "21 1 0:5 / /proc rw - proc proc rw\n36 35 0:31 / /cg rw,relatime shared:9 - cgroup2 cgroup2 rw\n",
        );
        if let Some(available) = available {
            tree.put(
                "proc/meminfo",
                &format!("MemTotal:  9999999 kB\nMemAvailable:   {} kB\n", available >> 10),
            );
        }
        tree
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn level(&self, path: &str, max: &str, current: u64, idle: u64) {
        self.put(&format!("{path}/memory.max"), &format!("{max}\n"));
        self.put(&format!("{path}/memory.current"), &format!("{current}\n"));
        self.put(
            &format!("{path}/memory.stat"),
            &format!("anon 1\ninactive_file {idle}\ntotal_inactive_file 7\n"),
        );
    }

    fn roots(&self) -> Roots {
        let root: &Path = self.0.path();
        Roots {
            proc: root.join("proc"),
            mounts: root.to_owned(),
        }
    }

    fn lack(&self, asked: u64) -> String {
        match compare(&self.roots(), asked) {
            Room::Lacking(lack) => lack.to_string(),
            Room::Enough(unseen) => format!("enough {unseen:?}"),
            Room::Unknown(text) => text,
        }
    }
}

#[test]
fn the_machine_counts_where_nothing_is_limited() {
    let tree = Tree::new(Some(120 * MIB));
    assert_eq!(
        tree.lack(512 * MIB),
        "120 MiB of memory are free, --min-free-memory asks for 512 MiB (MemAvailable of /proc/meminfo)"
    );
    assert_eq!(tree.lack(120 * MIB), "enough None");
}

#[test]
fn the_tightest_level_counts_whatever_its_height() {
    let tree = Tree::new(Some(9000 * MIB));
    tree.level(
        "cg/system.slice/a.service",
        &(400 * MIB).to_string(),
        100 * MIB,
        0,
    );
    assert_eq!(tree.lack(300 * MIB), "enough None");
    tree.level("cg/system.slice", &(1000 * MIB).to_string(), 900 * MIB, 20 * MIB);
    let text = "120 MiB of memory are free, --min-free-memory asks for 300 MiB (cgroup /system.slice)";
    assert_eq!(tree.lack(300 * MIB), text);
    tree.level("cg/system.slice", "max", 900 * MIB, 20 * MIB);
    assert_eq!(tree.lack(300 * MIB), "enough None");
    tree.put("cg/system.slice/memory.high", &(890 * MIB).to_string());
    assert_eq!(
        tree.lack(11 * MIB),
        text.replace("120 MiB", "10 MiB").replace("300", "11")
    );
    tree.put("cg/system.slice/memory.high", "5");
    assert_eq!(
        tree.lack(MIB),
        text.replace("120 MiB", "0 KiB").replace("300", "1")
    );
}

#[test]
fn the_first_hierarchy_is_read_as_a_container_sees_it() {
    let tree = Tree::new(Some(9000 * MIB));
    tree.put("proc/self/cgroup", "5:cpu,memory:/docker/id/below\n0::/\n");
    tree.put(
        "proc/self/mountinfo",
        "36 35 0:31 /docker/id /cg/cpu rw - cgroup cgroup rw,cpu\n\
         37 35 0:31 /docker/id /cg/memory rw - cgroup cgroup rw,memory\n",
    );
    tree.put("cg/memory/below/memory.limit_in_bytes", &(300 * MIB).to_string());
    tree.put("cg/memory/below/memory.usage_in_bytes", &(290 * MIB).to_string());
    tree.put(
        "cg/memory/below/memory.stat",
        &format!("inactive_file 1\ntotal_inactive_file {}\n", 20 * MIB),
    );
    tree.put("cg/memory/memory.limit_in_bytes", "9223372036854771712");
    tree.put("cg/memory/memory.usage_in_bytes", "1");
    assert_eq!(
        tree.lack(40 * MIB),
        "30 MiB of memory are free, --min-free-memory asks for 40 MiB (cgroup /below)"
    );
}

#[test]
fn what_cannot_be_read_is_told() {
    let tree = Tree::new(None);
    let unseen =
        "/proc/meminfo: no such file or directory (systemd's ProcSubset=pid hides it: set ProcSubset=all)";
    assert_eq!(tree.lack(MIB), unseen);
    tree.level("cg/system.slice", &(9 * MIB).to_string(), 0, 0);
    assert_eq!(tree.lack(MIB), format!("enough Some({unseen:?})"));
    tree.put("proc/meminfo", "MemTotal: 1 kB\n");
    assert_eq!(
        tree.lack(MIB),
        "enough Some(\"/proc/meminfo has no MemAvailable\")"
    );
}

#[test]
fn each_count_of_the_cgroup_explains_one_death() {
    let tree = Tree::new(None);
    let events = |kills: u64| {
        let text = format!("low 0\noom 9\noom_kill {kills}\noom_group_kill 0\n");
        tree.put("cg/system.slice/a.service/memory.events", &text);
    };
    tree.put("proc/vmstat", "nr 1\noom_kill 3\n");
    events(4);
    let mut kills = Kills::new(tree.roots());
    // Somewhere else, which our own counter would know.
    tree.put("proc/vmstat", "nr 1\noom_kill 9\n");
    assert_eq!(kills.explain(), Verdict::Innocent);
    events(6);
    let verdicts = [kills.explain(), kills.explain(), kills.explain()];
    assert_eq!(verdicts, [Verdict::Certain, Verdict::Certain, Verdict::Innocent]);
    events(8);
    kills.look();
    assert_eq!(kills.explain(), Verdict::Innocent);
}

#[test]
fn the_counter_of_the_machine_makes_it_probable() {
    let tree = Tree::new(None);
    tree.put("proc/vmstat", "oom_kill 3\n");
    let mut kills = Kills::new(tree.roots());
    assert_eq!(kills.explain(), Verdict::Innocent);
    tree.put("proc/vmstat", "oom_kill 4\n");
    assert_eq!(
        [kills.explain(), kills.explain()],
        [Verdict::Probable, Verdict::Innocent]
    );
}

#[test]
fn where_nothing_is_told_nobody_is_blamed() {
    let tree = Tree(tempfile::tempdir().expect("a directory"));
    assert_eq!(Kills::new(tree.roots()).explain(), Verdict::Innocent);
    assert!(matches!(compare(&tree.roots(), 1), Room::Unknown(_)));
}
