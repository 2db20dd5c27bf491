-- +goose Up
-- A send job may be prepared as a draft, and its messages may have to wait for more than their time. The defaults are those of a
-- job that nobody looks after: a single mail.
ALTER TABLE send_jobs ADD COLUMN state text NOT NULL DEFAULT 'released'; -- draft | released | canceled | expired
ALTER TABLE send_jobs ADD COLUMN gate text NOT NULL DEFAULT ''; -- why its messages wait: mail.Gate
ALTER TABLE send_jobs ADD COLUMN gate_since integer NOT NULL DEFAULT 0;
ALTER TABLE send_jobs ADD COLUMN gate_until integer NOT NULL DEFAULT 0;
ALTER TABLE send_jobs ADD COLUMN gate_by text NOT NULL DEFAULT ''; -- API key id, where a person closed it
ALTER TABLE send_jobs ADD COLUMN gate_note text NOT NULL DEFAULT '';
ALTER TABLE send_jobs ADD COLUMN closed_since integer NOT NULL DEFAULT 0; -- since when not all messages may go, for whatever reasons
ALTER TABLE send_jobs ADD COLUMN canaries text NOT NULL DEFAULT ''; -- JSON array of message ids whose outcome is awaited before the others go
ALTER TABLE send_jobs ADD COLUMN rules text NOT NULL DEFAULT '{}'; -- JSON of mail.JobRules
ALTER TABLE send_jobs ADD COLUMN stop_after integer NOT NULL DEFAULT 0; -- of the rules, for who looks for jobs to stop
ALTER TABLE send_jobs ADD COLUMN forgiven integer NOT NULL DEFAULT 0; -- failures that a person has seen when the job went on
ALTER TABLE send_jobs ADD COLUMN version integer NOT NULL DEFAULT 1;
ALTER TABLE send_jobs ADD COLUMN expires_at integer NOT NULL DEFAULT 0; -- when nobody releases it
ALTER TABLE send_jobs ADD COLUMN warned boolean NOT NULL DEFAULT false;
ALTER TABLE send_jobs ADD COLUMN finished_at integer NOT NULL DEFAULT 0; -- nothing of it moves by itself any more
ALTER TABLE send_jobs ADD COLUMN due_at integer NOT NULL DEFAULT 0; -- when to look after it again; 0: never
ALTER TABLE send_jobs ADD COLUMN draft text NOT NULL DEFAULT ''; -- JSON of what the caller asked for all messages, while it is a draft
CREATE INDEX send_jobs_due ON send_jobs (due_at) WHERE due_at > 0;
CREATE INDEX send_jobs_open ON send_jobs (sender_profile_id) WHERE due_at > 0;

-- The messages of a draft as they were asked. They are composed when it is released.
CREATE TABLE draft_messages (
    tenant_id text NOT NULL,
    job_id    text NOT NULL,
    id        text NOT NULL, -- of the message that it will be
    source    text NOT NULL, -- JSON
    PRIMARY KEY (tenant_id, job_id, id),
    FOREIGN KEY (tenant_id, job_id) REFERENCES send_jobs (tenant_id, id)
);

-- +goose Down
DROP TABLE draft_messages;
DROP INDEX send_jobs_due;
DROP INDEX send_jobs_open;
ALTER TABLE send_jobs DROP COLUMN state;
ALTER TABLE send_jobs DROP COLUMN gate;
ALTER TABLE send_jobs DROP COLUMN gate_since;
ALTER TABLE send_jobs DROP COLUMN gate_until;
ALTER TABLE send_jobs DROP COLUMN gate_by;
ALTER TABLE send_jobs DROP COLUMN gate_note;
ALTER TABLE send_jobs DROP COLUMN closed_since;
ALTER TABLE send_jobs DROP COLUMN canaries;
ALTER TABLE send_jobs DROP COLUMN rules;
ALTER TABLE send_jobs DROP COLUMN stop_after;
ALTER TABLE send_jobs DROP COLUMN forgiven;
ALTER TABLE send_jobs DROP COLUMN version;
ALTER TABLE send_jobs DROP COLUMN expires_at;
ALTER TABLE send_jobs DROP COLUMN warned;
ALTER TABLE send_jobs DROP COLUMN finished_at;
ALTER TABLE send_jobs DROP COLUMN due_at;
ALTER TABLE send_jobs DROP COLUMN draft;
