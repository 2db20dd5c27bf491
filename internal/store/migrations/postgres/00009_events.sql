-- +goose Up
-- What was reported of a message after it was handed over. An event is reported again and again until it is taken, so its id is kept.
CREATE TABLE message_events (
    tenant_id  text COLLATE "C" NOT NULL,
    message_id text COLLATE "C" NOT NULL,
    id         text COLLATE "C" NOT NULL, -- of whoever reported it
    kind       text NOT NULL, -- mail.EventKind
    address    text NOT NULL, -- of the recipient, in normal form
    evidence   text NOT NULL, -- what was said
    at         bigint NOT NULL,
    early      boolean NOT NULL, -- it came before the outcome of the hand-over that it is about was known
    PRIMARY KEY (tenant_id, message_id, id),
    FOREIGN KEY (tenant_id, message_id) REFERENCES messages (tenant_id, id)
);
CREATE INDEX message_events_early ON message_events (tenant_id, message_id) WHERE early;

-- What is known of the mail at each recipient: what those events come to.
CREATE TABLE deliveries (
    tenant_id  text COLLATE "C" NOT NULL,
    message_id text COLLATE "C" NOT NULL,
    address    text COLLATE "C" NOT NULL, -- in normal form
    delivery   text COLLATE "C" NOT NULL, -- mail.Delivery
    evidence   text NOT NULL,
    at         bigint NOT NULL,
    PRIMARY KEY (tenant_id, message_id, address),
    FOREIGN KEY (tenant_id, message_id) REFERENCES messages (tenant_id, id)
);
CREATE INDEX deliveries_by_state ON deliveries (tenant_id, delivery, message_id);

-- Addresses that a tenant's mail is not sent to.
CREATE TABLE suppressions (
    tenant_id  text COLLATE "C" NOT NULL REFERENCES tenants (id),
    address    text COLLATE "C" NOT NULL, -- in normal form
    id         text COLLATE "C" NOT NULL,
    reason     text NOT NULL,
    note       text NOT NULL,
    evidence   text NOT NULL,
    message_id text COLLATE "C" NOT NULL, -- that brought it; empty: none
    created_by text NOT NULL, -- API key id; empty: the service itself
    created_at bigint NOT NULL,
    PRIMARY KEY (tenant_id, address)
);
CREATE UNIQUE INDEX suppressions_by_id ON suppressions (tenant_id, id);

-- +goose Down
DROP TABLE suppressions, deliveries, message_events;
