-- Keys of everything that belongs to a wallet begin with the wallet
-- (docs/decisions/0002-keys-begin-with-the-wallet.md).
ALTER TABLE credits_entry DROP CONSTRAINT credits_entry_pkey, ADD PRIMARY KEY (wallet_id, id);
ALTER TABLE credits_lot DROP CONSTRAINT credits_lot_pkey, ADD PRIMARY KEY (wallet_id, id);
ALTER TABLE credits_hold DROP CONSTRAINT credits_hold_pkey, ADD PRIMARY KEY (wallet_id, id);
ALTER TABLE credits_entry ADD CONSTRAINT credits_entry_about
    FOREIGN KEY (wallet_id, about_id) REFERENCES credits_entry (wallet_id, id);
ALTER TABLE credits_lot ADD CONSTRAINT credits_lot_of_entry
    FOREIGN KEY (wallet_id, entry_id) REFERENCES credits_entry (wallet_id, id);
ALTER TABLE credits_draw ADD CONSTRAINT credits_draw_of_entry
    FOREIGN KEY (wallet_id, entry_id) REFERENCES credits_entry (wallet_id, id);
ALTER TABLE credits_draw ADD CONSTRAINT credits_draw_of_lot
    FOREIGN KEY (wallet_id, lot_id) REFERENCES credits_lot (wallet_id, id);
ALTER TABLE credits_hold ADD CONSTRAINT credits_hold_of_entry
    FOREIGN KEY (wallet_id, entry_id) REFERENCES credits_entry (wallet_id, id);
ALTER TABLE credits_holddraw ADD CONSTRAINT credits_holddraw_of_hold
    FOREIGN KEY (wallet_id, hold_id) REFERENCES credits_hold (wallet_id, id);
ALTER TABLE credits_holddraw ADD CONSTRAINT credits_holddraw_of_lot
    FOREIGN KEY (wallet_id, lot_id) REFERENCES credits_lot (wallet_id, id);
ALTER TABLE credits_transfer ADD CONSTRAINT credits_transfer_of_entry
    FOREIGN KEY (wallet_id, entry_id) REFERENCES credits_entry (wallet_id, id);
ALTER TABLE credits_transfer ADD CONSTRAINT credits_transfer_of_arrival
    FOREIGN KEY (to_wallet_id, to_entry_id) REFERENCES credits_entry (wallet_id, id);

-- What an entry of each kind may say: which account is its other side, which way credits go, and what
-- becomes owed. PostgreSQL reads the text of a CHECK anew for every statement, and this one, written
-- out, would take a quarter of a booking's time; a function is read once in a connection.
CREATE FUNCTION credits_is_sound(p_kind text, p_account text, p_amount bigint, p_owed bigint)
RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    CASE p_kind
        WHEN 'spend' THEN
            RETURN p_account = 'spent' AND p_amount < 0 AND p_owed = 0;
        WHEN 'purchase', 'renewal', 'promotion' THEN
            RETURN p_account = 'issued' AND p_amount > 0 AND p_owed = 0;
        WHEN 'gift_sent' THEN
            RETURN p_account = 'escrow' AND p_amount < 0 AND p_owed = 0;
        WHEN 'gift_received', 'gift_returned' THEN
            RETURN p_account = 'escrow' AND p_amount > 0 AND p_owed = 0;
        WHEN 'refund', 'dispute' THEN
            RETURN p_account = 'revoked' AND p_amount <= 0 AND p_owed >= 0 AND p_amount < p_owed;
        WHEN 'restoral' THEN
            RETURN p_account = 'revoked' AND p_amount > 0 AND p_owed = 0;
        WHEN 'repayment' THEN
            RETURN p_account = 'revoked' AND p_amount < 0 AND p_owed = p_amount;
        WHEN 'expiry' THEN
            RETURN p_account = 'expired' AND p_amount < 0 AND p_owed = 0;
        WHEN 'adjustment' THEN
            RETURN p_account = 'adjusted' AND p_amount <> 0 AND p_owed = 0;
        ELSE
            RETURN false;
    END CASE;
END $$;
ALTER TABLE credits_entry ADD CONSTRAINT credits_entry_sound
    CHECK (credits_is_sound(kind, account, amount, owed));

-- Room on the page for the next version of a row that every booking updates: no index changes then.
ALTER TABLE credits_wallet SET (fillfactor = 70);
ALTER TABLE credits_lot SET (fillfactor = 80);

-- What has been booked stays booked.
CREATE FUNCTION credits_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: book a new entry instead', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;
DO $$
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['credits_entry', 'credits_draw', 'credits_holddraw'] LOOP
        EXECUTE format('CREATE TRIGGER %1$s_append_only BEFORE UPDATE OR DELETE ON %1$s
            FOR EACH ROW EXECUTE FUNCTION credits_refuse_change()', v_table);
        EXECUTE format('CREATE TRIGGER %1$s_no_truncate BEFORE TRUNCATE ON %1$s
            FOR EACH STATEMENT EXECUTE FUNCTION credits_refuse_change()', v_table);
    END LOOP;
END $$;
