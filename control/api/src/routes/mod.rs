//! The resources, one file each.

pub(crate) mod audit;
pub(crate) mod candidate;
pub(crate) mod config;
pub(crate) mod drains;
pub(crate) mod leases;
pub(crate) mod ledger;
pub(crate) mod look;
pub(crate) mod market;
pub(crate) mod me;
pub(crate) mod orders;
pub(crate) mod papers;
pub(crate) mod store;
pub(crate) mod taps;
pub(crate) mod tenants;
pub(crate) mod tokens;
pub(crate) mod vswitches;

use crate::app::Api;
use crate::events;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Routes that take a configuration.
pub(crate) fn large() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(candidate::show, candidate::edit, candidate::replace, candidate::discard))
        .routes(routes!(config::apply))
        .routes(routes!(config::check))
        .routes(routes!(vswitches::import))
}

/// All others.
pub(crate) fn small() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(me::whoami))
        .routes(routes!(me::status))
        .routes(routes!(config::show))
        .routes(routes!(candidate::diff))
        .routes(routes!(candidate::validate))
        .routes(routes!(candidate::rebase))
        .routes(routes!(candidate::commit))
        .routes(routes!(config::confirm))
        .routes(routes!(config::rollback))
        .routes(routes!(config::history))
        .routes(routes!(config::commit_diff))
        .routes(routes!(tenants::list))
        .routes(routes!(tenants::one))
        .routes(routes!(tokens::list, tokens::make))
        .routes(routes!(tokens::revoke))
        .routes(routes!(leases::list, market::buy))
        .routes(routes!(leases::ended))
        .routes(routes!(market::quote))
        .routes(routes!(market::offer))
        .routes(routes!(market::calendar))
        .routes(routes!(leases::one))
        .routes(routes!(market::sell))
        .routes(routes!(orders::orders, orders::order))
        .routes(routes!(orders::one))
        .routes(routes!(orders::payments))
        .routes(routes!(orders::chain))
        .routes(routes!(leases::renew))
        .routes(routes!(leases::bind))
        .routes(routes!(leases::split))
        .routes(routes!(leases::hand_over))
        .routes(routes!(leases::end))
        .routes(routes!(ledger::accounts))
        .routes(routes!(ledger::deposit))
        .routes(routes!(ledger::withdraw))
        .routes(routes!(ledger::records))
        .routes(routes!(papers::statement))
        .routes(routes!(papers::invoices, papers::write_invoice))
        .routes(routes!(papers::invoice))
        .routes(routes!(papers::settle))
        .routes(routes!(papers::receipts))
        .routes(routes!(audit::list))
        .routes(routes!(drains::list))
        .routes(routes!(drains::one, drains::begin, drains::finish))
        .routes(routes!(store::backup))
        .routes(routes!(store::check))
        .routes(routes!(vswitches::export))
        .routes(routes!(look::ports))
        .routes(routes!(look::vswitches))
        .routes(routes!(look::vifs))
        .routes(routes!(look::links))
        .routes(routes!(look::drops))
        .routes(routes!(look::workers))
        .routes(routes!(look::leases))
        .routes(routes!(look::rates))
        .routes(routes!(events::stream))
        .routes(routes!(taps::trace))
        .routes(routes!(taps::capture))
}
