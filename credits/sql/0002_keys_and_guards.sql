-- Keys of everything that belongs to a wallet begin with the wallet
-- (docs/decisions/0002-keys-begin-with-the-wallet.md).
ALTER TABLE credits_entry DROP CONSTRAINT credits_entry_pkey, ADD PRIMARY KEY (wallet_id, id);
ALTER TABLE credits_lot DROP CONSTRAINT credits_lot_pkey, ADD PRIMARY KEY (wallet_id, id);
ALTER TABLE credits_draw DROP CONSTRAINT credits_draw_pkey, ADD PRIMARY KEY (wallet_id, id);
ALTER TABLE credits_lot ADD CONSTRAINT credits_lot_entry
    FOREIGN KEY (wallet_id, id) REFERENCES credits_entry (wallet_id, id);
ALTER TABLE credits_draw ADD CONSTRAINT credits_draw_entry
    FOREIGN KEY (wallet_id, entry_id) REFERENCES credits_entry (wallet_id, id);
ALTER TABLE credits_draw ADD CONSTRAINT credits_draw_lot
    FOREIGN KEY (wallet_id, lot_id) REFERENCES credits_lot (wallet_id, id);
CREATE INDEX credits_draw_of_lot ON credits_draw (wallet_id, lot_id);

-- What has been booked stays booked.
CREATE FUNCTION credits_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: book a new entry instead', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER credits_entry_append_only BEFORE UPDATE OR DELETE ON credits_entry
    FOR EACH ROW EXECUTE FUNCTION credits_refuse_change();
CREATE TRIGGER credits_entry_no_truncate BEFORE TRUNCATE ON credits_entry
    FOR EACH STATEMENT EXECUTE FUNCTION credits_refuse_change();
CREATE TRIGGER credits_draw_append_only BEFORE UPDATE OR DELETE ON credits_draw
    FOR EACH ROW EXECUTE FUNCTION credits_refuse_change();
CREATE TRIGGER credits_draw_no_truncate BEFORE TRUNCATE ON credits_draw
    FOR EACH STATEMENT EXECUTE FUNCTION credits_refuse_change();
