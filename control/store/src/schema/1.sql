-- Single values, by name.
CREATE TABLE fact (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The running configuration tree, by place.
CREATE TABLE entry (
    place TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What made the tree what it is; changes as JSON, so that each can be taken back.
CREATE TABLE config_commit (
    id         INTEGER PRIMARY KEY,
    at         INTEGER NOT NULL,
    author     TEXT NOT NULL,
    comment    TEXT NOT NULL,
    changes    TEXT NOT NULL
) STRICT;

-- What somebody is about to change.
CREATE TABLE candidate (
    author  TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    changes TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Leases that have not ended.
CREATE TABLE lease (
    id      INTEGER PRIMARY KEY,
    lease   TEXT NOT NULL,
    booking TEXT NOT NULL
) STRICT;

-- Leases that have, for statements and disputes.
CREATE TABLE ended_lease (
    id      INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    owner   INTEGER,
    lease   TEXT NOT NULL,
    booking TEXT NOT NULL
) STRICT;
CREATE INDEX ended_lease_by_owner ON ended_lease (owner, at);

-- The books.
CREATE TABLE account (
    id   INTEGER PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;
CREATE TABLE record (
    sequence INTEGER PRIMARY KEY,
    source   BLOB NOT NULL UNIQUE,
    at       INTEGER NOT NULL,
    due      INTEGER,
    debit    INTEGER,
    credit   INTEGER,
    body     TEXT NOT NULL
) STRICT;
CREATE INDEX record_by_due ON record (due, source) WHERE due IS NOT NULL;
CREATE INDEX record_by_debit ON record (debit, sequence);
CREATE INDEX record_by_credit ON record (credit, sequence);

-- What leases carried, as the dataplane signed it.
CREATE TABLE receipt (
    lease    INTEGER NOT NULL,
    since    INTEGER NOT NULL,
    until    INTEGER NOT NULL,
    digest   TEXT NOT NULL,
    body     TEXT NOT NULL,
    PRIMARY KEY (lease, since, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX receipt_by_until ON receipt (until);

-- What tenants owe or owed.
CREATE TABLE invoice (
    number INTEGER PRIMARY KEY,
    tenant INTEGER NOT NULL,
    unit   INTEGER NOT NULL,
    since  INTEGER NOT NULL,
    until  INTEGER NOT NULL,
    body   TEXT NOT NULL
) STRICT;
CREATE INDEX invoice_by_tenant ON invoice (tenant, number);

-- Leases that wait for a payment, or had one.
CREATE TABLE lease_order (
    id     INTEGER PRIMARY KEY,
    tenant INTEGER NOT NULL,
    lease  INTEGER NOT NULL,
    body   TEXT NOT NULL
) STRICT;
CREATE INDEX lease_order_by_tenant ON lease_order (tenant, id);
CREATE INDEX lease_order_by_lease ON lease_order (lease, id);

-- Payments that chains told of, by their source there.
CREATE TABLE payment (
    number INTEGER PRIMARY KEY,
    source BLOB NOT NULL UNIQUE,
    tenant INTEGER,
    paid_for INTEGER,
    body   TEXT NOT NULL
) STRICT;
CREATE INDEX payment_by_tenant ON payment (tenant, number);
CREATE INDEX payment_by_order ON payment (paid_for);

-- Who may do what.
CREATE TABLE token (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL,
    hash    TEXT NOT NULL,
    access  TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER,
    revoked INTEGER
) STRICT;

-- Who did what, each with the digest of the one before.
CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    who      TEXT NOT NULL,
    tenant   TEXT,
    action   TEXT NOT NULL,
    subject  TEXT NOT NULL,
    detail   TEXT NOT NULL,
    digest   BLOB NOT NULL
) STRICT;
CREATE INDEX audit_by_tenant ON audit (tenant, sequence);

-- Answers to requests that may be sent again.
CREATE TABLE reply (
    who     TEXT NOT NULL,
    name    TEXT NOT NULL,
    request BLOB NOT NULL,
    at      INTEGER NOT NULL,
    status  INTEGER NOT NULL,
    body    TEXT NOT NULL,
    PRIMARY KEY (who, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX reply_by_at ON reply (at);

-- What followers of chains know, in records of their own.
CREATE TABLE chain_record (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
