-- +goose Up
-- A profile's consent at Google: at most one. Who connects again replaces it.
CREATE TABLE gmail_grants (
    profile_id         text PRIMARY KEY,
    tenant_id          text NOT NULL,
    client             text NOT NULL, -- name of the OAuth client that was consented to: its generation
    client_own         boolean NOT NULL, -- the client is the tenant's own
    client_id          text NOT NULL, -- Google's id of it: a token is never shown to another client
    address            text NOT NULL,
    scopes             text NOT NULL, -- JSON array
    state              text NOT NULL, -- connected | needs_reauthorization | revoking | revoked
    code               text NOT NULL DEFAULT '', -- why it needs a new consent
    since              integer NOT NULL, -- of the state
    granted_at         integer NOT NULL,
    refresh_expires_at integer NOT NULL DEFAULT 0, -- what Google says when the consent screen is in testing
    sealed_refresh     blob, -- AEAD with the row's identity as associated data, as all sealed columns
    sealed_access      blob,
    access_until       integer NOT NULL DEFAULT 0, -- the access token is not used after this
    generation         integer NOT NULL, -- counts the changes of the tokens
    lease              text, -- of the one process that refreshes
    lease_until        integer NOT NULL DEFAULT 0,
    checked_at         integer NOT NULL, -- Google last took the refresh token, or gave it
    UNIQUE (tenant_id, profile_id),
    FOREIGN KEY (tenant_id, profile_id) REFERENCES sender_profiles (tenant_id, id)
);
CREATE INDEX gmail_grants_connected ON gmail_grants (profile_id) WHERE state = 'connected';
CREATE INDEX gmail_grants_revoking ON gmail_grants (since) WHERE state = 'revoking';
CREATE INDEX gmail_grants_by_client ON gmail_grants (client, profile_id);

-- A consent that was asked for. Secrets that travel through the browser are kept as SHA-256.
CREATE TABLE gmail_consents (
    id              text PRIMARY KEY,
    tenant_id       text NOT NULL,
    profile_id      text NOT NULL,
    actor           text NOT NULL, -- API key id
    client          text NOT NULL,
    client_own      boolean NOT NULL,
    client_id       text NOT NULL,
    language        text NOT NULL,
    return_url      text NOT NULL,
    ticket_hash     blob NOT NULL UNIQUE, -- of the start page's address
    state_hash      blob UNIQUE, -- of the state at Google; null: nobody has left for Google yet
    browser_hash    blob, -- of the cookie of the browser that left for Google
    sealed_verifier blob, -- PKCE
    outcome         text NOT NULL DEFAULT '', -- '' while open | exchanging | connected | the code of what went wrong
    params          text NOT NULL DEFAULT '{}', -- JSON object: they fill the text of that code
    created_at      integer NOT NULL,
    expires_at      integer NOT NULL,
    finished_at     integer NOT NULL DEFAULT 0,
    FOREIGN KEY (tenant_id, profile_id) REFERENCES sender_profiles (tenant_id, id)
);
CREATE INDEX gmail_consents_by_profile ON gmail_consents (profile_id, created_at);
CREATE INDEX gmail_consents_by_age ON gmail_consents (expires_at);

-- OAuth clients that tenants bring. Those of the service are in its configuration.
CREATE TABLE gmail_clients (
    tenant_id     text NOT NULL REFERENCES tenants (id),
    name          text NOT NULL,
    client_id     text NOT NULL,
    state         text NOT NULL, -- current | accepting | retired
    sealed_secret blob NOT NULL,
    created_at    integer NOT NULL,
    updated_at    integer NOT NULL,
    PRIMARY KEY (tenant_id, name)
);
CREATE UNIQUE INDEX gmail_clients_current ON gmail_clients (tenant_id) WHERE state = 'current';

-- +goose Down
DROP TABLE gmail_clients;
DROP TABLE gmail_consents;
DROP TABLE gmail_grants;
