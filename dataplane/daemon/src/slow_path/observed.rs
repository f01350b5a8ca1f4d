//! How things are, for others to look at.

use dataplane_api::status::{LinkStatus, RouterStatus, SlowPathStatus};
use node::links::{Kind, LinkState};

/// What others may look at.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    pub(crate) status: SlowPathStatus,
    links: Vec<LinkState>,
    pub(crate) routers: Vec<RouterStatus>,
}

impl Observed {
    /// Shows how things are now, in the memory that showed how they were.
    pub(super) fn fill(
        &mut self,
        status: SlowPathStatus,
        links: impl Iterator<Item = LinkState>,
        routers: impl Iterator<Item = RouterStatus>,
    ) {
        self.links.clear();
        self.links.extend(links);
        self.routers.clear();
        self.routers.extend(routers);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let up = self.links.iter().filter(|link| link.up).count();
        self.status = SlowPathStatus { links: (count(up), count(self.links.len())), ..status };
    }

    /// The state of each link, its key in text.
    pub(crate) fn link_statuses(&self) -> Vec<LinkStatus> {
        self.links.iter().map(link_status).collect()
    }
}

fn link_status(link: &LinkState) -> LinkStatus {
    LinkStatus {
        vif: link.vif,
        key: link.key.to_string(),
        user: link.user.clone(),
        learned: link.learned,
        kind: link.kind.map_or("", Kind::name).to_owned(),
        state: link.state.to_owned(),
        version: link.version,
        rtt_ns: link.rtt,
        heard_ns: link.silent,
        sessions: link.sessions,
    }
}
