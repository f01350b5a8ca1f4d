//! Hold invoices: the money of one that is paid waits until its lease is sure to be sold, and goes back if it is not.

use super::nodes::{Attached, Client, Ear, apart, id_of};
use chain_node::attach::invoice_said;
use chain_node::{PaymentHash, Preimage};
use control_api::{ChainError, Till};
use data_encoding::HEXLOWER;
use domain::{LeaseId, State as LeaseState};
use follow::{InvoiceState, NodeId};
use primitives::network::Network;
use serde::{Deserialize, Serialize};
use service::{Service, ServiceError};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{Order, OrderState, PayTo};
use tokio::task::JoinHandle;

/// What settles an invoice, and whose it is; kept from before anybody knows of the invoice until it is over.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) preimage: [u8; 32],
    /// Name of the Lightning node.
    pub(super) node: String,
}

/// Invoices that are not over.
pub(super) struct Invoices {
    chain: &'static str,
    open: BTreeMap<[u8; 32], Open>,
    poll: Option<JoinHandle<()>>,
}

struct Open {
    order: u64,
    lease: LeaseId,
    kept: Kept,
}

impl Kept {
    /// Keeps it, or forgets it.
    pub(super) fn write(
        kept: Option<&Self>,
        chain: &str,
        hash: &PaymentHash,
        service: &Service,
    ) -> Result<(), ServiceError> {
        let value = kept.map(postcard::to_stdvec).transpose();
        let value = value.map_err(|error| ServiceError::Internal(error.to_string()))?;
        service.chain_event(crate::clock::now(), None, &[(name(chain, &hash.0), value)])
    }
}

fn name(chain: &str, hash: &[u8; 32]) -> String {
    format!("invoice:{chain}/{}", HEXLOWER.encode(hash))
}

fn digest(hash: &str) -> Option<[u8; 32]> {
    HEXLOWER.decode(hash.as_bytes()).ok()?.try_into().ok()
}

impl Invoices {
    pub(super) fn new(network: &Network) -> Self {
        Self { chain: network.name, open: BTreeMap::new(), poll: None }
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Looks after an order's invoice from now on; its hash and node. `None`: it is over.
    pub(super) fn take_up(
        &mut self,
        order: &Order,
        hash: &str,
        service: &Service,
    ) -> Result<Option<([u8; 32], NodeId)>, ChainError> {
        let Some(hash) = digest(hash) else { return Ok(None) };
        let name = name(self.chain, &hash);
        let found = service.read(|tables| Ok(tables.chain_records(&name)?));
        let found = found.map_err(|error| ChainError::Away(error.to_string()))?;
        let kept = found.first().and_then(|(_, kept)| postcard::from_bytes::<Kept>(kept).ok());
        let Some(kept) = kept else { return Ok(None) };
        let node = id_of(&kept.node);
        self.open.insert(hash, Open { order: order.id, lease: order.lease, kept });
        Ok(Some((hash, node)))
    }

    /// Asks what has become of them, unless that is being asked; of one whose offer is over, ends it first.
    pub(super) fn poll(
        &mut self,
        nodes: &BTreeMap<String, Attached>,
        service: &Service,
        ear: &Ear,
    ) {
        if self.open.is_empty() || self.poll.as_ref().is_some_and(|poll| !poll.is_finished()) {
            return;
        }
        let leases = Arc::clone(&service.state().leases);
        let mut asked = Vec::new();
        for (hash, Open { lease, kept, .. }) in &self.open {
            let Some(node) = nodes.get(&kept.node) else { continue };
            let Client::Lightning(bolt) = &node.client else { continue };
            let lease = leases.lease(*lease);
            let stands =
                lease.is_ok_and(|(lease, _)| matches!(lease.state, LeaseState::Offered { .. }));
            let (bolt, trouble, id) = (Arc::clone(bolt), node.trouble().clone(), node.id);
            asked.push((PaymentHash(*hash), stands, bolt, trouble, id));
        }
        let ear = ear.clone();
        self.poll = Some(tokio::spawn(async move {
            for (hash, stands, bolt, trouble, id) in asked {
                let question = async {
                    let lightning = bolt.get().await?;
                    let invoice = lightning.invoice(hash).await?;
                    let is_open = invoice.state == chain_node::lightning::InvoiceState::Open;
                    if is_open && !stands {
                        lightning.cancel(hash).await?;
                        return lightning.invoice(hash).await;
                    }
                    Ok(invoice)
                };
                let answer = question.await;
                trouble.note(&answer);
                if let Ok(invoice) = answer
                    && ear.send((id, invoice_said(&invoice))).await.is_err()
                {
                    return;
                }
            }
        }));
    }

    /// Acts on what became of an invoice, once the books know.
    pub(super) fn judge(
        &mut self,
        hash: [u8; 32],
        state: InvoiceState,
        nodes: &BTreeMap<String, Attached>,
        service: &Service,
    ) {
        let Some(open) = self.open.get(&hash) else { return };
        match state {
            InvoiceState::Open => {}
            InvoiceState::Accepted => {
                let order = service.read(|tables| Ok(tables.order(open.order)?));
                match order.ok().flatten().map(|order| order.state) {
                    // Its offer stands long enough for what comes now: the lease is sold when the invoice is settled.
                    Some(OrderState::Seen) => open.settle(nodes),
                    Some(OrderState::Waiting | OrderState::Late | OrderState::Reverted) => {
                        open.cancel(hash, nodes);
                    }
                    Some(OrderState::Paid) | None => {}
                }
            }
            InvoiceState::Settled { .. } | InvoiceState::Canceled => {
                match Kept::write(None, self.chain, &PaymentHash(hash), service) {
                    Ok(()) => drop(self.open.remove(&hash)),
                    Err(error) => tracing::error!("forget an invoice: {error}"),
                }
            }
        }
    }

    /// Ends an invoice that nobody was told of.
    pub(super) fn give_back(
        &self,
        till: &Till,
        nodes: &BTreeMap<String, Attached>,
        service: &Service,
    ) {
        let PayTo::Invoice { hash, .. } = &till.pay_to else { return };
        let Some(hash) = digest(hash).map(PaymentHash) else { return };
        if let Err(error) = Kept::write(None, self.chain, &hash, service) {
            tracing::error!("forget an invoice: {error}");
        }
        for node in nodes.values() {
            if let Client::Lightning(bolt) = &node.client {
                let bolt = Arc::clone(bolt);
                let cancel = async move { bolt.get().await?.cancel(hash).await };
                // Nodes whose it is not say so, and that is no trouble.
                tokio::spawn(async move { drop(cancel.await) });
            }
        }
    }
}

impl Open {
    fn settle(&self, nodes: &BTreeMap<String, Attached>) {
        let preimage = Preimage::new(self.kept.preimage);
        let Some(node) = nodes.get(&self.kept.node) else { return };
        if let Client::Lightning(bolt) = &node.client {
            let bolt = Arc::clone(bolt);
            let settle = async move { bolt.get().await?.settle(&preimage).await };
            apart(node.trouble().clone(), settle);
        }
    }

    fn cancel(&self, hash: [u8; 32], nodes: &BTreeMap<String, Attached>) {
        let Some(node) = nodes.get(&self.kept.node) else { return };
        if let Client::Lightning(bolt) = &node.client {
            let bolt = Arc::clone(bolt);
            let cancel = async move { bolt.get().await?.cancel(PaymentHash(hash)).await };
            apart(node.trouble().clone(), cancel);
        }
    }
}
