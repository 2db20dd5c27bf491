-- +goose Up
-- A send job may be prepared as a draft, and its messages may have to wait for more than their time. The defaults are those of a
-- job that nobody looks after: a single mail.
ALTER TABLE send_jobs
    ADD COLUMN state        text COLLATE "C" NOT NULL DEFAULT 'released', -- draft | released | canceled | expired
    ADD COLUMN gate         text COLLATE "C" NOT NULL DEFAULT '', -- why its messages wait: mail.Gate
    ADD COLUMN gate_since   bigint NOT NULL DEFAULT 0,
    ADD COLUMN gate_until   bigint NOT NULL DEFAULT 0,
    ADD COLUMN gate_by      text NOT NULL DEFAULT '', -- API key id, where a person closed it
    ADD COLUMN gate_note    text NOT NULL DEFAULT '',
    ADD COLUMN closed_since bigint NOT NULL DEFAULT 0, -- since when not all messages may go, for whatever reasons
    ADD COLUMN canaries     text NOT NULL DEFAULT '', -- JSON array of message ids whose outcome is awaited before the others go
    ADD COLUMN rules        text NOT NULL DEFAULT '{}', -- JSON of mail.JobRules
    ADD COLUMN stop_after   integer NOT NULL DEFAULT 0, -- of the rules, for who looks for jobs to stop
    ADD COLUMN forgiven     integer NOT NULL DEFAULT 0, -- failures that a person has seen when the job went on
    ADD COLUMN version      bigint NOT NULL DEFAULT 1,
    ADD COLUMN expires_at   bigint NOT NULL DEFAULT 0, -- when nobody releases it
    ADD COLUMN warned       boolean NOT NULL DEFAULT false,
    ADD COLUMN finished_at  bigint NOT NULL DEFAULT 0, -- nothing of it moves by itself any more
    ADD COLUMN due_at       bigint NOT NULL DEFAULT 0, -- when to look after it again; 0: never
    ADD COLUMN draft        text NOT NULL DEFAULT ''; -- JSON of what the caller asked for all messages, while it is a draft
CREATE INDEX send_jobs_due ON send_jobs (due_at) WHERE due_at > 0;
CREATE INDEX send_jobs_open ON send_jobs (sender_profile_id) WHERE due_at > 0;

-- The messages of a draft as they were asked. They are composed when it is released.
CREATE TABLE draft_messages (
    tenant_id text COLLATE "C" NOT NULL,
    job_id    text COLLATE "C" NOT NULL,
    id        text COLLATE "C" NOT NULL, -- of the message that it will be
    source    text NOT NULL, -- JSON
    PRIMARY KEY (tenant_id, job_id, id),
    FOREIGN KEY (tenant_id, job_id) REFERENCES send_jobs (tenant_id, id)
);

-- +goose Down
DROP TABLE draft_messages;
DROP INDEX send_jobs_due, send_jobs_open;
ALTER TABLE send_jobs
    DROP COLUMN state, DROP COLUMN gate, DROP COLUMN gate_since, DROP COLUMN gate_until, DROP COLUMN gate_by, DROP COLUMN gate_note,
    DROP COLUMN closed_since, DROP COLUMN canaries, DROP COLUMN rules, DROP COLUMN stop_after, DROP COLUMN forgiven, DROP COLUMN version,
    DROP COLUMN expires_at, DROP COLUMN warned, DROP COLUMN finished_at, DROP COLUMN due_at, DROP COLUMN draft;
