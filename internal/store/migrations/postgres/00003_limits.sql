-- +goose Up
-- 0 is no limit. limited_until is like paused_until, for a profile that has nothing wrong and no room.
ALTER TABLE sender_profiles
    ADD COLUMN per_minute integer NOT NULL DEFAULT 0,
    ADD COLUMN per_hour integer NOT NULL DEFAULT 0,
    ADD COLUMN per_day integer NOT NULL DEFAULT 0,
    ADD COLUMN limited_until bigint NOT NULL DEFAULT 0,
    ADD COLUMN limited_by text NOT NULL DEFAULT ''; -- per_minute | per_hour | per_day

-- What a profile with limits handed over in the last day. Who claims mail of it, or counts what became of a claim, locks the row.
CREATE TABLE profile_usage (
    profile_id text COLLATE "C" PRIMARY KEY REFERENCES sender_profiles (id),
    used       text NOT NULL DEFAULT '[]' -- JSON: [second, mails] each
) WITH (fillfactor = 50);

-- The profile whose limits a claim counts against, until it is counted in profile_usage. Most claims have none.
ALTER TABLE claims ADD COLUMN limited text COLLATE "C";
CREATE INDEX claims_limited ON claims (limited) WHERE limited IS NOT NULL;

-- +goose Down
DROP INDEX claims_limited;
ALTER TABLE claims DROP COLUMN limited;
DROP TABLE profile_usage;
ALTER TABLE sender_profiles DROP COLUMN per_minute, DROP COLUMN per_hour, DROP COLUMN per_day, DROP COLUMN limited_until, DROP COLUMN limited_by;
