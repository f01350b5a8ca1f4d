//! The rights to make network namespaces: root's, or those of an own user namespace.

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Uid, getegid, geteuid};
use std::path::Path;

/// On whose rights the demo runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rights {
    /// Root: AF_XDP.
    Root,
    /// An own user namespace: the kernel lets it load no program, so AF_PACKET.
    UserNamespace,
}

impl Rights {
    /// Takes what there is: enters a user namespace unless this is root. Must be called before any thread is started.
    pub(super) fn take(force_user_namespace: bool) -> Result<Self> {
        let user = geteuid();
        if user.is_root() && !force_user_namespace {
            return Ok(Self::Root);
        }
        enter_user_namespace(user)?;
        Ok(Self::UserNamespace)
    }
}

fn enter_user_namespace(user: Uid) -> Result<()> {
    let group = getegid();
    unshare(CloneFlags::CLONE_NEWUSER).map_err(refused)?;
    // Without this the kernel refuses a group map by an unprivileged writer.
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", &format!("0 {user} 1"))?;
    write("/proc/self/gid_map", &format!("0 {group} 1"))
}

fn write(path: &str, text: &str) -> Result<()> {
    std::fs::write(Path::new(path), text)
        .with_context(|| format!("becoming root of an own user namespace: {path}"))
}

fn refused(errno: Errno) -> anyhow::Error {
    anyhow!(
        "the demo is not run by root, and this machine does not let other users make namespaces ({}): run it with \
         sudo, or allow them (sysctl kernel.unprivileged_userns_clone=1 or \
         kernel.apparmor_restrict_unprivileged_userns=0)",
        errno.desc()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_to_do() {
        let error = refused(Errno::EPERM).to_string();
        assert!(error.contains("sudo") && error.contains("unprivileged_userns_clone"), "{error}");
    }
}
