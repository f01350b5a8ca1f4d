//! Where an order is paid: an address of the attached wallet, or an invoice of the attached Lightning node.

use super::invoices::Kept;
use super::nodes::{Attached, Bolt, Client};
use chain_node::lightning::{Offer, Order};
use chain_node::{Preimage, Wallet};
use control_api::{ChainError, PayBy, Till};
use data_encoding::HEXLOWER;
use ledger::Amount;
use primitives::amount::Amount as Units;
use primitives::network::Network;
use service::Service;
use std::collections::BTreeMap;
use std::sync::Arc;
use store::PayTo;

/// What followed chains are paid in, by the code that its unit must have.
const ASSET: &str = "PKT";
/// What a payer reads.
const MEMO: &str = "lease";

/// What is asked, with those who can answer.
pub(super) struct Asked {
    by: PayBy,
    price: Units,
    expiry_s: u32,
    wallets: Vec<Arc<Wallet>>,
    bolt: Option<(String, Arc<Bolt>)>,
}

impl Asked {
    pub(super) fn new(
        by: PayBy,
        unit: &str,
        price: Amount,
        offer_ms: u64,
        nodes: &BTreeMap<String, Attached>,
    ) -> Result<Self, ChainError> {
        if unit != ASSET {
            let why = format!("orders are paid in {ASSET}, and the price is in {unit:?}");
            return Err(ChainError::Refused(why));
        }
        let units = u64::try_from(price.0).ok().and_then(|units| Units::from_units(units).ok());
        let Some(price) = units.filter(|units| *units > Units::ZERO) else {
            return Err(ChainError::Refused(format!("{price} smallest units cannot be paid")));
        };
        let wallet = |node: &Attached| {
            if let Client::Wallet(wallet) = &node.client { Some(Arc::clone(wallet)) } else { None }
        };
        let bolt = |(name, node): (&String, &Attached)| {
            let Client::Lightning(bolt) = &node.client else { return None };
            Some((name.clone(), Arc::clone(bolt)))
        };
        Ok(Self {
            by,
            price,
            expiry_s: u32::try_from(offer_ms / 1000).unwrap_or(u32::MAX).max(1),
            wallets: nodes.values().filter_map(wallet).collect(),
            bolt: nodes.iter().find_map(bolt),
        })
    }

    pub(super) async fn till(
        self,
        network: Network,
        service: &Service,
    ) -> Result<Till, ChainError> {
        let reason = match self.by {
            PayBy::Chain => None,
            PayBy::Lightning => match self.invoice(&network, service).await {
                Ok(till) => return Ok(till),
                Err(reason) => Some(reason),
            },
        };
        let address = self.address().await?;
        Ok(Till { pay_to: PayTo::Address { chain: network.name.to_owned(), address }, reason })
    }

    /// The first address that a wallet gives.
    async fn address(&self) -> Result<String, ChainError> {
        let mut why = "no wallet is attached".to_owned();
        for wallet in &self.wallets {
            match wallet.new_address().await {
                Ok(address) => return Ok(address),
                Err(error) => why = format!("the wallet gives no address: {error}"),
            }
        }
        Err(ChainError::Away(why))
    }

    /// A hold invoice, or why there is none.
    async fn invoice(&self, network: &Network, service: &Service) -> Result<Till, String> {
        let Some((node, bolt)) = &self.bolt else {
            return Err("no Lightning node is attached".into());
        };
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| format!("no randomness: {error}"))?;
        let preimage = Preimage::new(secret);
        let hash = preimage.hash();
        let order = Order {
            price: self.price,
            memo: MEMO.into(),
            expiry_s: self.expiry_s,
            is_hold: true,
            preimage,
        };
        let offered = async { bolt.get().await?.offer(&order).await };
        match offered.await.map_err(|error| error.to_string())? {
            Offer::OnChain(why) => Err(why.to_string()),
            Offer::Invoice(invoice) => {
                let kept = Kept { preimage: secret, node: node.clone() };
                Kept::write(Some(&kept), network.name, &hash, service)
                    .map_err(|error| error.to_string())?;
                let (chain, hash) = (network.name.to_owned(), HEXLOWER.encode(&hash.0));
                let pay_to = PayTo::Invoice { chain, request: invoice.request, hash };
                Ok(Till { pay_to, reason: None })
            }
        }
    }
}
