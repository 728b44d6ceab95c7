//! The MTU that a link had before leases brought one, kept for the agent's successor: what it finds is the lease's.

use std::path::{Path, PathBuf};

use ferrite_files::small::read_small;
use ferrite_files::{durable, removal};

/// A link's name and a number.
const MAX_BYTES: u64 = 256;

/// What is known of one link, in memory and in a file that does not outlive the machine's boot.
#[derive(Debug)]
pub(super) struct MtuBefore {
    file: PathBuf,
    link: String,
    mtu: Option<u32>,
}

impl MtuBefore {
    /// What an earlier agent has left about this link. The kernel gives a number of a link to no other one for a long time, and
    /// the file says whose it is.
    pub(super) fn of(folder: &Path, (index, link): (u32, &str)) -> Self {
        let file = folder.join(format!("mtu-{index}"));
        let text = read_small(&file, MAX_BYTES).ok().flatten().unwrap_or_default();
        let text = String::from_utf8(text).unwrap_or_default();
        let mtu = text.split_once(' ').filter(|(name, _)| *name == link);
        let mtu = mtu.and_then(|(_, mtu)| mtu.trim().parse().ok());
        Self { file, link: link.to_owned(), mtu }
    }

    pub(super) fn get(&self) -> Option<u32> {
        self.mtu
    }

    /// Remembers it. Where it cannot be kept, this agent knows it all the same.
    pub(super) fn set(&mut self, mtu: u32) {
        self.mtu = Some(mtu);
        let text = format!("{} {mtu}\n", self.link);
        let kept = self.file.parent().map_or(Ok(()), |folder| {
            durable::private_folder(folder).map_err(|error| ferrite_schema::chain(&error)).and_then(
                |()| {
                    durable::write(&self.file, text.as_bytes())
                        .map_err(|error| ferrite_schema::chain(&error))
                },
            )
        });
        if let Err(error) = kept {
            tracing::warn!(interface = self.link, error, "mtu-not-kept");
        }
    }

    /// It has it again.
    pub(super) fn forget(&mut self) {
        self.mtu = None;
        drop(removal::remove(&self.file));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_agent_knew_is_known_of_the_same_link_alone() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("links");
        let of = |index, name| MtuBefore::of(&folder, (index, name));
        assert_eq!(of(2, "eth0").get(), None);
        of(2, "eth0").set(1480);
        assert_eq!(of(2, "eth0").get(), Some(1480));
        assert_eq!((of(3, "eth0").get(), of(2, "eth1").get()), (None, None));
        of(2, "eth0").forget();
        assert_eq!(of(2, "eth0").get(), None);
        for torn in ["", "eth0", "eth0 ", "eth0 many\n", "\u{e4}"] {
            std::fs::write(folder.join("mtu-2"), torn).unwrap();
            assert_eq!(of(2, "eth0").get(), None, "{torn:?}");
        }
    }
}
