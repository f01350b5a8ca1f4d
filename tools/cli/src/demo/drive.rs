//! Neighbours on both sides of the box, sending and counting.

use super::network::{NEIGHBOUR_DEVICE, Network};
use super::plan::Side;
use super::rights::Rights;
use anyhow::{Context, Result};
use traffic::af_packet::AfPacket;
use traffic::af_xdp::{PortEnd, filter_of};
use traffic::crew::Member;
use traffic::{Accounts, Crew, Generator, Load, Scenario, Station, Timing};

/// Starts sending, `rate` packets a second on each side, over what `rights` allow.
pub(super) fn start(
    network: &Network,
    scenario: &Scenario,
    rights: Rights,
    rate: u64,
    seed: u64,
) -> Result<Crew> {
    let member = |side: Side| -> Result<Member> {
        let load = Load { rate: Some(rate), ..Load::default() };
        let generator = Generator::new(scenario, side.port(), seed, load)?;
        let accounts = Accounts::new(scenario, side.port());
        let attempt = || format!("opening the wire of the {} neighbours", side.port());
        let inside = network.neighbours(side);
        let timing = Timing::default();
        Ok(match rights {
            Rights::Root => {
                let filter = filter_of(scenario, side.port());
                let wire = inside.run(|| PortEnd::open(NEIGHBOUR_DEVICE, &filter))?;
                Station::new(wire.with_context(attempt)?, generator, accounts, timing).into()
            }
            Rights::UserNamespace => {
                let wire = inside.run(|| AfPacket::open(NEIGHBOUR_DEVICE))?;
                Station::new(wire.with_context(attempt)?, generator, accounts, timing).into()
            }
        })
    };
    Ok(Crew::start(Side::BOTH.into_iter().map(member).collect::<Result<_>>()?))
}
