//! Who is at the other end of a connection, as far as the connection itself tells.

use domain::access::Grant;
use std::net::SocketAddr;

/// The other end of a connection. Who serves connections puts it into the extensions of each request.
#[derive(Clone, Debug)]
pub enum Peer {
    /// A process on this machine.
    Unix {
        /// Its user, by the kernel's word.
        uid: u32,
    },
    /// Somebody over TCP.
    Tcp {
        /// Its address.
        addr: SocketAddr,
    },
    /// Somebody over TLS.
    Tls {
        /// Its address.
        addr: SocketAddr,
        /// Who that is by a certificate that was verified; `None`: it showed none.
        client: Option<Client>,
    },
}

/// Who somebody is by his certificate.
#[derive(Clone, Debug)]
pub struct Client {
    /// Subject of the certificate.
    pub subject: String,
    /// What he may without a token; `None`: nothing.
    pub grant: Option<Grant>,
}
