//! Which users and groups have a number in this process's user namespace.

use std::fs;
use std::sync::LazyLock;

/// The number that the kernel shows for an id without a number here, unless it is configured.
const OVERFLOW: u32 = 65_534;

/// The two kinds of ids.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    User,
    Group,
}

/// Whether a number that the kernel shows may stand for an id that has no number here.
///
/// The kernel shows all of those as one and the same number. In a namespace that has a number
/// for every id, as the first one has, that number is an ordinary user's. Cheap for every other
/// number.
pub(super) fn may_be_unmapped(kind: Kind, id: u32) -> bool {
    // Without procfs nothing is known of the map: it is taken for one that lacks ids.
    is_overflow(kind, id) && has_all(kind) != Some(true)
}

/// The same of a group.
pub(crate) fn may_be_unmapped_group(gid: u32) -> bool {
    may_be_unmapped(Kind::Group, gid)
}

/// Whether the machine's root may be shown as this number: in a namespace that lacks ids its
/// directories belong to the user without a number.
pub(super) fn may_be_machines_root(uid: u32) -> bool {
    is_overflow(Kind::User, uid) && has_all(Kind::User) == Some(false)
}

fn is_overflow(kind: Kind, id: u32) -> bool {
    static NUMBERS: LazyLock<[u32; 2]> = LazyLock::new(|| {
        ["/proc/sys/kernel/overflowuid", "/proc/sys/kernel/overflowgid"].map(|file| {
            let number = fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok());
            number.unwrap_or(OVERFLOW)
        })
    });
    let [user, group] = *NUMBERS;
    match kind {
        Kind::User => id == user,
        Kind::Group => id == group,
    }
}

/// Whether every id has a number here; `None` where procfs does not tell. Read each time: a
/// process can enter another namespace.
fn has_all(kind: Kind) -> Option<bool> {
    let file = match kind {
        Kind::User => "/proc/self/uid_map",
        Kind::Group => "/proc/self/gid_map",
    };
    Some(is_complete(&fs::read_to_string(file).ok()?))
}

/// Whether a map, in the kernel's format, has a number for every id. The last number, with all
/// its bits set, is no id.
fn is_complete(map: &str) -> bool {
    let lengths = map.lines().map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    lengths.sum::<Option<u64>>() == Some(u64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_map_of_every_id_is_complete() {
        assert!(is_complete("         0          0 4294967295\n"));
        assert!(is_complete("0 100 65536\n65536 65636 4294901759\n"));
        for map in ["", "0 0 1\n", "0 100000 65536\n", "0 0 4294967294\n", "none of it"] {
            assert!(!is_complete(map), "{map}");
        }
    }

    #[test]
    fn ordinary_numbers_are_mapped() {
        assert!(!may_be_unmapped(Kind::User, 0) && !may_be_unmapped(Kind::Group, 1000));
    }
}
