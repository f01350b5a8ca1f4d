//! Leases that wait for a payment, and payments that chains told of.

use crate::tables::{StoreError, Tables, from_json, natural, number, to_json};
use dataplane_api::TenantId;
use domain::leases::Binding;
use domain::{LeaseId, Time};
use ledger::{Amount, UnitId};
use rusqlite::OptionalExtension;
use serde::{Deserialize, Serialize};

/// A lease that is paid for from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its number, for good.
    pub id: u64,
    /// Who ordered.
    pub tenant: TenantId,
    /// What: its room is booked as long as the offer stands.
    pub lease: LeaseId,
    /// In which unit it is paid.
    pub unit: UnitId,
    /// What it costs.
    pub price: Amount,
    /// Where it is paid.
    pub pay_to: PayTo,
    /// When it was made.
    pub created: Time,
    /// What the lease is given to as soon as it is paid.
    pub binding: Option<Binding>,
    /// How far it is.
    pub state: OrderState,
}

/// Where an order is paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayTo {
    /// To an address of a chain.
    Address {
        /// The chain's name.
        chain: String,
        /// The address, in the chain's own words.
        address: String,
    },
    /// By an invoice, e.g. of Lightning.
    Invoice {
        /// The network's name.
        chain: String,
        /// The payment request, in the network's own words.
        request: String,
        /// Hash that tells the invoice from all others, hexadecimal.
        hash: String,
    },
}

/// How far an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// For its payment.
    Waiting,
    /// Enough was seen, and is not confirmed yet: the offer stands longer.
    Seen,
    /// The lease is the tenant's.
    Paid,
    /// Paid when the offer was over: the money is the tenant's.
    Late,
    /// Its payment was taken back, and the lease with it.
    Reverted,
}

/// A payment that a chain told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// Where it comes from, hexadecimal: never the same for two payments.
    pub source: String,
    /// The chain's name.
    pub chain: String,
    /// Whose money it is; `None`: nobody knows.
    pub tenant: Option<TenantId>,
    /// What it is for; `None`: for the tenant to spend.
    pub order: Option<u64>,
    /// In which unit.
    pub unit: UnitId,
    /// How much.
    pub amount: Amount,
    /// When it was told of first.
    pub first: Time,
    /// How deep it is, as last told.
    pub confirmations: u32,
    /// How often it came, counting those times when it was taken back.
    pub round: u32,
    /// How far it is.
    pub state: PaymentState,
}

/// How far a payment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentState {
    /// Set aside, until it is deep enough.
    Pending,
    /// In the books for good, unless its chain takes it back.
    Posted,
    /// Taken back.
    Reverted,
}

impl Tables<'_> {
    /// The number that the next order must have.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn next_order(self) -> Result<u64, StoreError> {
        let sql = "SELECT coalesce(max(id), 0) + 1 FROM lease_order";
        Ok(natural(self.0.prepare_cached(sql)?.query_row([], |row| row.get(0))?))
    }

    /// Keeps an order as it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_order(self, order: &Order) -> Result<(), StoreError> {
        let sql = "INSERT INTO lease_order (id, tenant, lease, body) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT DO UPDATE SET body = excluded.body";
        let row = (number(order.id)?, order.tenant.0, order.lease.0, to_json("order", order)?);
        self.0.prepare_cached(sql)?.execute(row)?;
        Ok(())
    }

    /// An order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn order(self, id: u64) -> Result<Option<Order>, StoreError> {
        let sql = "SELECT body FROM lease_order WHERE id = ?1";
        let id = i64::try_from(id).unwrap_or(i64::MAX);
        let body = self.0.prepare_cached(sql)?.query_row([id], |row| row.get::<_, String>(0));
        body.optional()?.map(|body| from_json("order", &body)).transpose()
    }

    /// The last order of a lease.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn order_of(self, lease: LeaseId) -> Result<Option<Order>, StoreError> {
        let sql = "SELECT body FROM lease_order WHERE lease = ?1 ORDER BY id DESC LIMIT 1";
        let mut found = self.0.prepare_cached(sql)?;
        let body = found.query_row([lease.0], |row| row.get::<_, String>(0)).optional()?;
        body.map(|body| from_json("order", &body)).transpose()
    }

    /// Orders before a number, newest first, at most `limit`; of one tenant, or all.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn orders(
        self,
        tenant: Option<u32>,
        before: u64,
        limit: u32,
    ) -> Result<Vec<Order>, StoreError> {
        let sql = "SELECT body FROM lease_order WHERE (?1 IS NULL OR tenant = ?1) AND id < ?2
                   ORDER BY id DESC LIMIT ?3";
        let mut found = self.0.prepare_cached(sql)?;
        let before = i64::try_from(before).unwrap_or(i64::MAX);
        let bodies = found.query_map((tenant, before, limit), |row| row.get::<_, String>(0))?;
        bodies.map(|body| from_json("order", &body?)).collect()
    }

    /// A payment by its source.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn payment(self, source: &[u8]) -> Result<Option<Payment>, StoreError> {
        let sql = "SELECT body FROM payment WHERE source = ?1";
        let body = self.0.prepare_cached(sql)?.query_row([source], |row| row.get::<_, String>(0));
        body.optional()?.map(|body| from_json("payment", &body)).transpose()
    }

    /// Keeps a payment as it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_payment(self, source: &[u8], payment: &Payment) -> Result<(), StoreError> {
        let sql = "INSERT INTO payment (source, tenant, paid_for, body) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT (source) DO UPDATE SET body = excluded.body";
        let (tenant, order) = (payment.tenant.map(|tenant| tenant.0), payment.order);
        let row = (source, tenant, order.map(number).transpose()?, to_json("payment", payment)?);
        self.0.prepare_cached(sql)?.execute(row)?;
        Ok(())
    }

    /// Payments for an order, in the order in which they were told of first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn payments_for(self, order: u64) -> Result<Vec<Payment>, StoreError> {
        let sql = "SELECT body FROM payment WHERE paid_for = ?1 ORDER BY number";
        let mut found = self.0.prepare_cached(sql)?;
        let bodies = found.query_map([number(order)?], |row| row.get::<_, String>(0))?;
        bodies.map(|body| from_json("payment", &body?)).collect()
    }

    /// Payments, the newest of them first, after `skip` of them, at most `limit`; of one tenant, or all.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn payments(
        self,
        tenant: Option<u32>,
        skip: u32,
        limit: u32,
    ) -> Result<Vec<Payment>, StoreError> {
        let sql = "SELECT body FROM payment WHERE (?1 IS NULL OR tenant = ?1)
                   ORDER BY number DESC LIMIT ?3 OFFSET ?2";
        let mut found = self.0.prepare_cached(sql)?;
        let bodies = found.query_map((tenant, skip, limit), |row| row.get::<_, String>(0))?;
        bodies.map(|body| from_json("payment", &body?)).collect()
    }
}
