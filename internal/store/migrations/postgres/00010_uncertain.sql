-- +goose Up
-- Whether a message of uncertain outcome is sent again by itself: somebody has to say so for the profile.
ALTER TABLE sender_profiles ADD COLUMN resend_uncertain boolean NOT NULL DEFAULT false;

-- +goose Down
ALTER TABLE sender_profiles DROP COLUMN resend_uncertain;
