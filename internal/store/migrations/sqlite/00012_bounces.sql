-- +goose Up
-- How far the mailbox of a sender profile that gets the reports on its mails is read. Its settings are the profile's.
CREATE TABLE bounce_mailboxes (
    tenant_id    text NOT NULL,
    profile_id   text NOT NULL PRIMARY KEY,
    place        text NOT NULL, -- server, user and folder: what is known of one is nothing about another
    uid_validity integer NOT NULL DEFAULT 0, -- of the server, for last_uid (RFC 3501 section 2.3.1.1); 0: nothing was read
    last_uid     integer NOT NULL DEFAULT 0, -- everything up to it was looked at
    due_at       integer NOT NULL, -- the next reading; while one is under way, the end of its lease
    token        text, -- of the reading that is under way
    failures     integer NOT NULL DEFAULT 0, -- of the last readings, in a row
    problem      text, -- JSON of mail.ProfileTrouble
    read_at      integer NOT NULL DEFAULT 0, -- when it was last read to its end
    FOREIGN KEY (tenant_id, profile_id) REFERENCES sender_profiles (tenant_id, id)
);
CREATE INDEX bounce_mailboxes_due ON bounce_mailboxes (due_at);

-- +goose Down
DROP TABLE bounce_mailboxes;
