//! A box for tools that test APIs: the box of the tests, on a port of this machine, until it is killed.
//!
//! ```sh
//! cargo run -p control-api --example served 127.0.0.1:8080    # prints the owner's and a tenant's token
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    reason = "a tool for tests says what it hit, and ends"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use axum::extract::{ConnectInfo, Request};
use axum::middleware::{self, Next};
use control_api::Peer;
use domain::access::Role;
use std::net::SocketAddr;
use support::World;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let world = World::new();
    println!("owner {}", world.role("owner", Role::Owner).1);
    println!("tenant {}", world.tenant("ops", "red").1);
    tokio::spawn(world.api.clone().watch(std::future::pending()));
    let with_peer =
        |ConnectInfo(addr): ConnectInfo<SocketAddr>, mut request: Request, next: Next| {
            request.extensions_mut().insert(Peer::Tcp { addr });
            next.run(request)
        };
    let router = world.api.router().layer(middleware::from_fn(with_peer));
    let listener = tokio::net::TcpListener::bind(&address).await.unwrap();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).await.unwrap();
}
