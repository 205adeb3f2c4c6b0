-- As in 0002_verbs.sql, but it settles first, as every other verb does: what expired while a hold was
-- open is booked by itself, and what the hold gives back to a lot that has expired follows as its own
-- entry. Balances are the same either way.
CREATE OR REPLACE FUNCTION credits_release(p_wallet bigint, p_hold bigint) RETURNS credits_hold
LANGUAGE plpgsql AS $$
DECLARE
    v_wallet credits_wallet := credits_lock(p_wallet);
    v_time timestamptz := clock_timestamp();
    v_hold credits_hold;
BEGIN
    SELECT * INTO v_hold FROM credits_hold WHERE wallet_id = p_wallet AND id = p_hold;
    -- Free is what the caller wants it to be.
    IF v_hold.status IN ('released', 'lapsed') THEN
        RETURN v_hold;
    END IF;
    IF v_hold.status = 'open' AND v_hold.expires_at <= v_time THEN
        PERFORM credits_settle(v_wallet, v_time);
    ELSE
        v_hold := credits_open_hold(p_wallet, p_hold, v_time);
        PERFORM credits_settle(v_wallet, v_time);
        PERFORM credits_free(p_wallet, v_hold, 'released');
        v_wallet := credits_settle_again(p_wallet, v_time);
        PERFORM credits_repay(p_wallet, v_wallet.owed, 'hold:' || v_hold.id, NULL);
    END IF;
    SELECT * INTO v_hold FROM credits_hold WHERE wallet_id = p_wallet AND id = p_hold;
    RETURN v_hold;
END $$;
