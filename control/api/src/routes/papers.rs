//! Papers: statements, invoices, receipts.

use super::config::PageQuery;
use crate::app::Api;
use crate::auth::Who;
use crate::extract::{Json, Path, Query};
use crate::page::{Asked, Page};
use crate::problem::{Problem, time};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use dataplane_api::Receipt;
use dataplane_api::status::Volume;
use domain::LeaseId;
use domain::Time;
use ledger::invoice::Invoice;
use ledger::{AccountId, Amount, Unit};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use service::{InvoiceAsked, StatementAsked};
use utoipa::{IntoParams, ToSchema};

/// Media type of CSV.
const CSV: &str = "text/csv; charset=utf-8";

/// How a paper is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PaperFormat {
    #[default]
    Json,
    Csv,
}

/// For when a statement is asked, and how it is written.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StatementQuery {
    /// Begin of the period, Unix milliseconds; the account's begin if nothing is said.
    #[param(maximum = 9_007_199_254_740_991_u64)]
    from: Option<u64>,
    /// End of the period; now if nothing is said.
    #[param(maximum = 9_007_199_254_740_991_u64)]
    until: Option<u64>,
    /// How it is written.
    #[serde(default)]
    format: PaperFormat,
}

/// What moved on an account in a period.
#[utoipa::path(
    get, path = "/ledger/accounts/{id}/statement", tag = "ledger",
    params(("id" = u64, Path, description = "Number of the account"), StatementQuery),
    responses((
        status = 200, description = "The statement",
        content((Value = "application/json"), (String = "text/csv")),
    )),
)]
pub(crate) async fn statement(
    State(api): State<Api>,
    who: Who,
    Path(id): Path<u64>,
    Query(query): Query<StatementQuery>,
) -> Result<Response, Problem> {
    let (from, until) = period(query.from, query.until)?;
    api.blocking(move |api| {
        let until = until.unwrap_or_else(|| api.now().after(1)).0;
        let asked = StatementAsked { account: AccountId(id), from: from.0, until };
        let (statement, unit) = api.service().statement(&who.caller, &asked)?;
        let mut text = Vec::new();
        let (written, media_type) = match query.format {
            PaperFormat::Json => (statement.json(&unit, &mut text), "application/json"),
            PaperFormat::Csv => (statement.csv(&unit, &mut text), CSV),
        };
        written.map_err(|error| Problem::internal(&error))?;
        Ok(([(header::CONTENT_TYPE, media_type)], text).into_response())
    })
    .await
}

fn period(from: Option<u64>, until: Option<u64>) -> Result<(Time, Option<Time>), Problem> {
    let from = time("from", from.unwrap_or(0))?;
    Ok((from, until.map(|until| time("until", until)).transpose()?))
}

/// Invoices, newest first.
#[utoipa::path(
    get, path = "/ledger/invoices", tag = "ledger", params(PageQuery),
    responses((status = 200, body = Page<Value>)),
)]
pub(crate) async fn invoices(
    State(api): State<Api>,
    who: Who,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Value>>, Problem> {
    let asked = query.asked()?;
    let found =
        api.run(move |service, _| service.invoices(&who.caller, asked.before(), asked.fetch()));
    let number = |invoice: &Value| invoice.get("number").and_then(Value::as_u64).unwrap_or(0);
    Ok(Json(asked.descending(found.await?, number, |invoice| invoice)))
}

/// How an invoice is written.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct InvoiceQuery {
    /// How.
    #[serde(default)]
    format: PaperFormat,
}

/// An invoice.
#[utoipa::path(
    get, path = "/ledger/invoices/{number}", tag = "ledger",
    params(("number" = u64, Path, description = "Its number"), InvoiceQuery),
    responses((
        status = 200, description = "The invoice, as it was written",
        content((Value = "application/json"), (String = "text/csv")),
    )),
)]
pub(crate) async fn invoice(
    State(api): State<Api>,
    who: Who,
    Path(number): Path<u64>,
    Query(InvoiceQuery { format }): Query<InvoiceQuery>,
) -> Result<Response, Problem> {
    let written = api.run(move |service, _| service.invoice(&who.caller, number)).await?;
    match format {
        PaperFormat::Json => Ok(Json(written).into_response()),
        PaperFormat::Csv => {
            let text = csv(written).map_err(|error| Problem::internal(&error))?;
            Ok(([(header::CONTENT_TYPE, CSV)], text).into_response())
        }
    }
}

/// An invoice as it was written, in rows.
fn csv(mut written: Value) -> Result<Vec<u8>, String> {
    #[derive(Deserialize)]
    struct Asset {
        code: String,
        per_whole: u64,
    }
    let asset = written.as_object_mut().and_then(|table| table.remove("asset"));
    let asset: Asset = serde_json::from_value(asset.unwrap_or(Value::Null))
        .map_err(|error| format!("invoice: {error}"))?;
    let unit = Unit::new(&asset.code, asset.per_whole).map_err(|error| error.to_string())?;
    let invoice: Invoice =
        serde_json::from_value(written).map_err(|error| format!("invoice: {error}"))?;
    let mut text = Vec::new();
    invoice.csv(&unit, &mut text).map_err(|error| error.to_string())?;
    Ok(text)
}

/// For whom, in what and for when an invoice shall be written.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = InvoiceAsked)]
pub(crate) struct InvoiceAskedBody {
    /// Name of the tenant.
    tenant: String,
    /// Code of the unit.
    unit: String,
    /// Begin of the period, Unix milliseconds; none: where the last one ended.
    #[schema(maximum = 9_007_199_254_740_991_u64)]
    from: Option<u64>,
    /// End of the period, not later than now.
    #[schema(maximum = 9_007_199_254_740_991_u64)]
    until: u64,
}

/// Writes an invoice for what a tenant's leases carried above their guarantees, and books it as owed.
#[utoipa::path(
    post, path = "/ledger/invoices", tag = "ledger", request_body = InvoiceAskedBody,
    responses((status = 201, description = "The invoice", body = Value)),
)]
pub(crate) async fn write_invoice(
    State(api): State<Api>,
    who: Who,
    Json(asked): Json<InvoiceAskedBody>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let InvoiceAskedBody { tenant, unit, from, until } = asked;
    let from = from.map(|from| time("from", from)).transpose()?.map(|from| from.0);
    let asked = InvoiceAsked { tenant, unit, from, until: time("until", until)?.0 };
    let written = api.run(move |service, now| service.write_invoice(now, &who.caller, &asked));
    Ok((StatusCode::CREATED, Json(written.await?)))
}

/// Who pays what he owes.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settlement {
    /// Name of the tenant.
    tenant: String,
    /// Code of the unit.
    unit: String,
}

/// What was paid.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Settled {
    /// Smallest units.
    #[schema(value_type = String)]
    paid: Amount,
}

/// Pays what a tenant owes from what it has paid in.
#[utoipa::path(
    post, path = "/ledger/settlements", tag = "ledger", request_body = Settlement,
    responses((status = 200, body = Settled)),
)]
pub(crate) async fn settle(
    State(api): State<Api>,
    who: Who,
    Json(Settlement { tenant, unit }): Json<Settlement>,
) -> Result<Json<Settled>, Problem> {
    let paid =
        api.run(move |service, now| service.settle(now, &who.caller, &tenant, &unit)).await?;
    Ok(Json(Settled { paid }))
}

/// Which receipts.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReceiptsQuery {
    /// Number of the lease.
    #[param(value_type = u64, maximum = 4_294_967_295_u64)]
    lease: u32,
    /// Those that begin then or later, Unix milliseconds.
    #[param(maximum = 9_007_199_254_740_991_u64)]
    from: Option<u64>,
    /// Those that begin earlier.
    #[param(maximum = 9_007_199_254_740_991_u64)]
    until: Option<u64>,
    /// Most items of the page; 100 if nothing is said.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Packets, and their bytes of wire.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = Volume)]
pub(crate) struct VolumeBody {
    packets: u64,
    bytes: u64,
}

impl From<Volume> for VolumeBody {
    fn from(volume: Volume) -> Self {
        let Volume { packets, bytes } = volume;
        Self { packets, bytes }
    }
}

/// What became of the packets of a lease.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = LeaseTotals)]
pub(crate) struct TotalsBody {
    /// What left in profile.
    guaranteed: VolumeBody,
    /// What left above it.
    priority: VolumeBody,
    /// What left without a claim.
    free: VolumeBody,
    /// What was dropped above the ceiling.
    above_ceiling: VolumeBody,
    /// What was dropped for want of room.
    no_room: VolumeBody,
    /// Packets by how long they waited: up to 8.192 µs, and up to four times as much in each part that follows.
    delays: Vec<u64>,
}

impl From<dataplane_api::status::LeaseTotals> for TotalsBody {
    fn from(totals: dataplane_api::status::LeaseTotals) -> Self {
        Self {
            guaranteed: totals.guaranteed.into(),
            priority: totals.priority.into(),
            free: totals.free.into(),
            above_ceiling: totals.above_ceiling.into(),
            no_room: totals.no_room.into(),
            delays: totals.delays.to_vec(),
        }
    }
}

/// What one lease gave in one interval, as the dataplane signed it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Receipt)]
pub(crate) struct ReceiptBody {
    /// Key of the vswitch, `.k` form.
    vswitch: String,
    /// Number of the lease.
    lease: u32,
    /// Begin of the interval, Unix milliseconds.
    from: u64,
    /// End of the interval.
    until: u64,
    /// What became of its packets.
    totals: TotalsBody,
    /// Most bytes of wire that left in one second.
    peak: u64,
    /// Digest of the receipt before, 64 hexadecimal digits.
    previous: String,
    /// SHA-256 of the receipt, 64 hexadecimal digits.
    digest: String,
    /// Ed25519 key that signed the digest; empty: the vswitch's private key is not there.
    signing_key: String,
    /// Its signature, 128 hexadecimal digits.
    signature: String,
}

impl From<Receipt> for ReceiptBody {
    fn from(receipt: Receipt) -> Self {
        Self {
            vswitch: receipt.vswitch,
            lease: receipt.lease,
            from: receipt.from,
            until: receipt.until,
            totals: receipt.totals.into(),
            peak: receipt.peak,
            previous: receipt.previous,
            digest: receipt.digest,
            signing_key: receipt.signing_key,
            signature: receipt.signature,
        }
    }
}

/// Receipts of a lease, oldest first.
#[utoipa::path(
    get, path = "/receipts", tag = "leases", params(ReceiptsQuery),
    responses((status = 200, body = Page<ReceiptBody>)),
)]
pub(crate) async fn receipts(
    State(api): State<Api>,
    who: Who,
    Query(query): Query<ReceiptsQuery>,
) -> Result<Json<Page<ReceiptBody>>, Problem> {
    let asked = Asked::new(query.limit, query.cursor.as_deref())?;
    let (from, until) = period(query.from, query.until)?;
    let (from, until) = (from.0.max(asked.from()), until.unwrap_or(Time::MAX).0);
    let lease = LeaseId(query.lease);
    let found =
        api.run(move |service, _| service.receipts(&who.caller, lease, from, until, asked.fetch()));
    Ok(Json(asked.ascending(found.await?, |receipt| receipt.from, Into::into)))
}
