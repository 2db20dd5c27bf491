-- +goose Up
-- What the reseller switched on for a tenant. active is what the profiles were last told; changes_at is when the clock changes it.
CREATE TABLE add_ons (
    tenant_id  text NOT NULL REFERENCES tenants (id),
    name       text NOT NULL, -- sendgrid
    active     boolean NOT NULL,
    starts_at  integer NOT NULL,
    ends_at    integer NOT NULL DEFAULT 0, -- 0: open
    changes_at integer NOT NULL DEFAULT 0, -- 0: never
    key_name   text NOT NULL DEFAULT '', -- of the service's key; '': its default
    subuser    text NOT NULL DEFAULT '',
    created_at integer NOT NULL,
    updated_at integer NOT NULL,
    PRIMARY KEY (tenant_id, name)
);
CREATE INDEX add_ons_changing ON add_ons (changes_at) WHERE changes_at > 0;

-- When it was on, to invoice from. The latest is the one in add_ons.
CREATE TABLE add_on_periods (
    tenant_id text NOT NULL,
    name      text NOT NULL,
    starts_at integer NOT NULL,
    ends_at   integer NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, name, starts_at),
    FOREIGN KEY (tenant_id, name) REFERENCES add_ons (tenant_id, name)
);

-- Whose address or domain it is: firms share an account at SendGrid, which itself would take one's domain from another.
CREATE TABLE sender_identities (
    tenant_id   text NOT NULL REFERENCES tenants (id),
    name        text NOT NULL, -- a domain or an address in lower case, the domain as A-labels
    method      text NOT NULL, -- domain | single_sender | granted
    state       text NOT NULL, -- pending | verified | failed
    key_name    text NOT NULL, -- the account where it is verified
    subuser     text NOT NULL,
    provider_id integer NOT NULL DEFAULT 0,
    records     text NOT NULL DEFAULT '[]', -- JSON of []DNSRecord
    looks       integer NOT NULL DEFAULT 0, -- since it is pending
    next_look   integer NOT NULL DEFAULT 0, -- by the database's clock; while one is under way, the end of its lease; 0: none
    looked_at   integer NOT NULL DEFAULT 0,
    look        text, -- token of the look that is under way
    created_at  integer NOT NULL,
    since       integer NOT NULL, -- of the state
    PRIMARY KEY (tenant_id, name)
);
-- The first firm to begin has it, until its time to prove it is over.
CREATE UNIQUE INDEX sender_identities_claim ON sender_identities (name) WHERE method <> 'granted' AND state IN ('pending', 'verified');
CREATE INDEX sender_identities_by_name ON sender_identities (name);
CREATE INDEX sender_identities_looking ON sender_identities (next_look) WHERE next_look > 0;

-- +goose Down
DROP TABLE sender_identities;
DROP TABLE add_on_periods;
DROP TABLE add_ons;
