-- +goose Up
-- What happened, for those who asked to be told: written in the commit of what it tells, and only for tenants with somebody to
-- tell it to. The id has the time in it, so that old rows are found by it.
CREATE TABLE events (
    id         text COLLATE "C" PRIMARY KEY,
    tenant_id  text COLLATE "C" NOT NULL REFERENCES tenants (id),
    type       text COLLATE "C" NOT NULL, -- "message.sent"
    subject    text COLLATE "C" NOT NULL, -- the id of what it happened to
    at         bigint NOT NULL,
    data       text NOT NULL, -- JSON of store.EventData
    fanned_out boolean NOT NULL DEFAULT false -- it has its deliveries and notices
);
CREATE INDEX events_fresh ON events (id) WHERE NOT fanned_out;

CREATE TABLE webhook_endpoints (
    id              text COLLATE "C" PRIMARY KEY,
    tenant_id       text COLLATE "C" NOT NULL REFERENCES tenants (id),
    url             text NOT NULL,
    description     text NOT NULL,
    events          text NOT NULL, -- JSON array of types; empty: all
    language        text NOT NULL,
    enabled         boolean NOT NULL,
    disabled_code   text NOT NULL DEFAULT '', -- why the service switched it off
    failing_since   bigint NOT NULL DEFAULT 0, -- of the first failure after the last success
    sealed_secret   bytea NOT NULL,
    sealed_previous bytea, -- signs too until previous_until
    previous_until  bigint NOT NULL DEFAULT 0,
    created_at      bigint NOT NULL,
    updated_at      bigint NOT NULL,
    UNIQUE (tenant_id, id)
);

-- An event on its way to an endpoint.
CREATE TABLE webhook_deliveries (
    id              text COLLATE "C" PRIMARY KEY,
    tenant_id       text COLLATE "C" NOT NULL,
    endpoint_id     text COLLATE "C" NOT NULL,
    event_id        text COLLATE "C" NOT NULL,
    status          text COLLATE "C" NOT NULL, -- pending | delivered | failed
    attempts        integer NOT NULL DEFAULT 0, -- of this round: a replay begins anew
    next_at         bigint NOT NULL, -- the next try; while one is under way, the end of its lease
    token           text COLLATE "C", -- of the try that is under way
    response_status integer NOT NULL DEFAULT 0,
    code            text NOT NULL DEFAULT '', -- why the last try failed
    excerpt         text NOT NULL DEFAULT '', -- of the answer to the last try
    attempted_at    bigint NOT NULL DEFAULT 0,
    created_at      bigint NOT NULL,
    FOREIGN KEY (tenant_id, endpoint_id) REFERENCES webhook_endpoints (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint_id, next_at) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_by_endpoint ON webhook_deliveries (endpoint_id, id);

-- Whom a tenant wants to be told by mail.
CREATE TABLE notice_settings (
    tenant_id         text COLLATE "C" PRIMARY KEY REFERENCES tenants (id),
    addresses         text NOT NULL, -- JSON array
    language          text NOT NULL,
    sender_profile_id text COLLATE "C" NOT NULL,
    kinds             text NOT NULL, -- JSON array
    updated_at        bigint NOT NULL,
    FOREIGN KEY (tenant_id, sender_profile_id) REFERENCES sender_profiles (tenant_id, id)
);

-- A notice mail that is to be written, or was.
CREATE TABLE notices (
    id         text COLLATE "C" PRIMARY KEY,
    tenant_id  text COLLATE "C" NOT NULL REFERENCES tenants (id),
    event_id   text COLLATE "C" NOT NULL,
    subject    text COLLATE "C" NOT NULL, -- of the event
    trouble    text NOT NULL, -- what is the matter with it: one mail for a while
    state      text COLLATE "C" NOT NULL, -- pending | queued | dropped
    due_at     bigint NOT NULL,
    created_at bigint NOT NULL
);
CREATE INDEX notices_due ON notices (due_at) WHERE state = 'pending';
CREATE INDEX notices_by_subject ON notices (tenant_id, subject, trouble, created_at);

-- +goose Down
DROP TABLE notices, notice_settings, webhook_deliveries, webhook_endpoints, events;
