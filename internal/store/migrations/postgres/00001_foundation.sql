-- +goose Up
-- Times are microseconds since 1970-01-01 UTC in bigint, JSON documents are text: the same in both databases.
-- Every row of a tenant carries tenant_id, and references between such rows carry it too, so that no reference can cross tenants.

CREATE TABLE tenants (
    id         text COLLATE "C" PRIMARY KEY,
    name       text NOT NULL,
    created_at bigint NOT NULL
);

CREATE TABLE api_keys (
    id           text COLLATE "C" PRIMARY KEY,
    tenant_id    text COLLATE "C" REFERENCES tenants (id), -- null: an operator's key
    name         text NOT NULL,
    secret_hash  bytea NOT NULL, -- SHA-256 of a 256-bit random secret
    scopes       text NOT NULL,  -- JSON array
    created_at   bigint NOT NULL,
    last_used_at bigint,
    revoked_at   bigint
);
CREATE INDEX api_keys_by_tenant ON api_keys (tenant_id, id);

CREATE TABLE sender_profiles (
    id              text COLLATE "C" PRIMARY KEY,
    tenant_id       text COLLATE "C" NOT NULL REFERENCES tenants (id),
    version         bigint NOT NULL,
    level           text NOT NULL,
    owner_ref       text NOT NULL,
    name            text NOT NULL,
    is_default      boolean NOT NULL,
    transport       text NOT NULL,
    max_connections integer NOT NULL,
    settings        text NOT NULL, -- JSON: all the rest that is no secret
    sealed_secrets  bytea,         -- JSON of the secrets, AEAD with the row's identity as associated data
    hold            text,          -- JSON of mail.ProfileTrouble: only a person can mend it
    pause           text,          -- JSON of mail.ProfileTrouble: tried again after paused_until
    paused_until    bigint NOT NULL DEFAULT 0,
    pause_count     integer NOT NULL DEFAULT 0,
    created_at      bigint NOT NULL,
    updated_at      bigint NOT NULL,
    deleted_at      bigint,
    UNIQUE (tenant_id, id)
);
CREATE UNIQUE INDEX sender_profiles_default ON sender_profiles (tenant_id, level, owner_ref) WHERE is_default AND deleted_at IS NULL;

CREATE TABLE templates (
    id            text COLLATE "C" PRIMARY KEY,
    tenant_id     text COLLATE "C" NOT NULL REFERENCES tenants (id),
    version       bigint NOT NULL,
    name          text NOT NULL,
    document_type text NOT NULL,
    company_ref   text NOT NULL,
    is_default    boolean NOT NULL,
    created_at    bigint NOT NULL,
    updated_at    bigint NOT NULL,
    deleted_at    bigint,
    UNIQUE (tenant_id, id)
);
CREATE UNIQUE INDEX templates_default ON templates (tenant_id, company_ref, document_type) WHERE is_default AND deleted_at IS NULL;

-- Every version that a template ever had: a message names the one it used.
CREATE TABLE template_versions (
    tenant_id   text COLLATE "C" NOT NULL,
    template_id text COLLATE "C" NOT NULL,
    version     bigint NOT NULL,
    document    text NOT NULL, -- JSON: default language, tokens, translations
    created_at  bigint NOT NULL,
    PRIMARY KEY (template_id, version),
    FOREIGN KEY (tenant_id, template_id) REFERENCES templates (tenant_id, id)
);

-- Bytes are stored once by SHA-256 per tenant, in chunks, so that neither side ever holds a whole file.
CREATE TABLE blobs (
    tenant_id  text COLLATE "C" NOT NULL REFERENCES tenants (id),
    sha256     text COLLATE "C" NOT NULL,
    blob_id    text COLLATE "C" NOT NULL,
    size       bigint NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (tenant_id, sha256)
);
CREATE TABLE blob_chunks (
    blob_id    text COLLATE "C" NOT NULL,
    n          integer NOT NULL,
    created_at bigint NOT NULL,
    data       bytea NOT NULL,
    PRIMARY KEY (blob_id, n)
);
ALTER TABLE blob_chunks ALTER COLUMN data SET STORAGE EXTERNAL; -- PDFs do not compress

CREATE TABLE attachments (
    id         text COLLATE "C" PRIMARY KEY,
    tenant_id  text COLLATE "C" NOT NULL,
    sha256     text COLLATE "C" NOT NULL,
    filename   text NOT NULL,
    media_type text NOT NULL,
    kind       text NOT NULL,
    size       bigint NOT NULL,
    created_at bigint NOT NULL,
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, sha256) REFERENCES blobs (tenant_id, sha256)
);

-- The tables of the delivery path are keyed by tenant and id: one index is the key, what references point at, and a tenant's
-- list. Every index costs each message once more.

CREATE TABLE send_jobs (
    tenant_id         text COLLATE "C" NOT NULL REFERENCES tenants (id),
    id                text COLLATE "C" NOT NULL,
    purpose           text NOT NULL, -- one_off | batch
    sender_profile_id text COLLATE "C" NOT NULL,
    total             integer NOT NULL,
    detail            text NOT NULL, -- JSON: what the caller asked for the job as a whole
    send_at           bigint,
    created_by        text NOT NULL, -- API key id
    created_at        bigint NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, id, sender_profile_id),
    FOREIGN KEY (tenant_id, sender_profile_id) REFERENCES sender_profiles (tenant_id, id)
);

-- The state of a message: narrow, because it is written three times on the way out. No index knows what the mark and the
-- outcome of a sent message change, so that PostgreSQL writes them beside the row (HOT) and touches no index.
CREATE TABLE messages (
    tenant_id   text COLLATE "C" NOT NULL,
    id          text COLLATE "C" NOT NULL,
    job_id      text COLLATE "C" NOT NULL,
    profile_id  text COLLATE "C" NOT NULL,
    status      text COLLATE "C" NOT NULL, -- queued | sending | sent | deferred | failed | uncertain | canceled
    waiting     text COLLATE "C" GENERATED ALWAYS AS (CASE WHEN status IN ('queued', 'deferred', 'uncertain') THEN status END) STORED, -- for the indexes
    phase       text COLLATE "C" NOT NULL DEFAULT '', -- of the attempt: '' | claimed | committing
    priority    smallint NOT NULL,
    not_before  bigint NOT NULL,
    expires_at  bigint NOT NULL,
    claim       text COLLATE "C", -- the token that fences its writers; kept while uncertain
    attempts    integer NOT NULL DEFAULT 0, -- counted so far
    attempt     text, -- JSON of the latest of them; most mails never have another
    recipients  text NOT NULL, -- JSON of []mail.Recipient
    code        text NOT NULL DEFAULT '', -- of the last verdict
    delivery    text NOT NULL DEFAULT 'unknown',
    created_at  bigint NOT NULL,
    updated_at  bigint NOT NULL,
    sent_at     bigint,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, job_id, profile_id) REFERENCES send_jobs (tenant_id, id, sender_profile_id)
) WITH (fillfactor = 60);
CREATE INDEX messages_by_job ON messages (job_id, id);
CREATE INDEX messages_due ON messages (profile_id, priority, not_before, id) WHERE waiting IN ('queued', 'deferred');
CREATE INDEX messages_uncertain ON messages (profile_id, id) WHERE waiting = 'uncertain';
CREATE INDEX messages_expiring ON messages (expires_at) WHERE waiting = 'deferred';

-- A claim is a lane's right to send some messages while its lease lasts. It is gone when each of them has an outcome.
CREATE TABLE claims (
    token       text COLLATE "C" PRIMARY KEY,
    tenant_id   text COLLATE "C" NOT NULL REFERENCES tenants (id),
    messages    text[] NOT NULL, -- ids
    lease_until bigint NOT NULL
);

-- What was asked and composed: written once, never changed.
CREATE TABLE message_contents (
    tenant_id        text COLLATE "C" NOT NULL,
    message_id       text COLLATE "C" NOT NULL,
    subject          text NOT NULL,
    body_text        text NOT NULL,
    body_html        text NOT NULL,
    content          text NOT NULL, -- JSON of mail.Content without the three above
    detail           text NOT NULL, -- JSON: document, client, template version, tags, metadata, how the sender was chosen
    external_id      text COLLATE "C",
    PRIMARY KEY (tenant_id, message_id),
    FOREIGN KEY (tenant_id, message_id) REFERENCES messages (tenant_id, id)
) WITH (toast_tuple_target = 8160);
CREATE INDEX message_contents_by_external_id ON message_contents (tenant_id, external_id) WHERE external_id IS NOT NULL;

-- Earlier attempts: all but the latest, which is in the message's row.
CREATE TABLE attempts (
    tenant_id  text COLLATE "C" NOT NULL,
    message_id text COLLATE "C" NOT NULL,
    n          integer NOT NULL, -- from 1
    attempt    text NOT NULL,    -- JSON as in messages
    PRIMARY KEY (tenant_id, message_id, n),
    FOREIGN KEY (tenant_id, message_id) REFERENCES messages (tenant_id, id)
);

-- A lane is the right to hold one connection of a profile. awake: 0 asleep, 1 a wake-up is on its way or the lane works,
-- 2 likewise and the wake-up was made with the priority of a one-off mail.
CREATE TABLE lanes (
    profile_id  text COLLATE "C" NOT NULL REFERENCES sender_profiles (id),
    lane        integer NOT NULL,
    awake       smallint NOT NULL DEFAULT 0,
    rung_at     bigint NOT NULL DEFAULT 0,
    token       text COLLATE "C",
    lease_until bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (profile_id, lane)
) WITH (fillfactor = 50);

CREATE TABLE idempotency_records (
    tenant_id    text COLLATE "C" NOT NULL, -- empty: an operator's request, which belongs to no tenant
    key          text COLLATE "C" NOT NULL,
    request_hash text COLLATE "C" NOT NULL,
    status       integer NOT NULL,
    headers      text NOT NULL, -- JSON object
    body         bytea NOT NULL,
    created_at   bigint NOT NULL,
    PRIMARY KEY (tenant_id, key)
);
CREATE INDEX idempotency_records_by_age ON idempotency_records (created_at);

CREATE TABLE audit_events (
    id         text COLLATE "C" PRIMARY KEY,
    tenant_id  text COLLATE "C" NOT NULL REFERENCES tenants (id),
    actor      text NOT NULL, -- API key id
    action     text NOT NULL, -- "message.resolve"
    subject    text NOT NULL, -- the id it was done to
    detail     text NOT NULL, -- JSON
    created_at bigint NOT NULL
);
CREATE INDEX audit_events_by_tenant ON audit_events (tenant_id, id);

-- +goose Down
DROP TABLE audit_events, idempotency_records, lanes, claims, attempts, message_contents, messages, send_jobs, attachments,
    blob_chunks, blobs, template_versions, templates, sender_profiles, api_keys, tenants;
