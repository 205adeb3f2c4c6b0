-- Book one entry. Plus opens a lot, minus draws on the open lots in the order of spending.
--
-- The wallet's row is locked first and everything is read after that: under READ COMMITTED each
-- statement of a function sees what was committed before the lock was granted. So two bookings on
-- one wallet happen one after the other, and bookings on different wallets never meet.
--
-- Raises CR001 no such wallet, CR002 key used with other inputs, CR003 not enough credits
-- (DETAIL: what is available), CR004 above 2^53 - 1, the largest integer every client reads exactly.
CREATE FUNCTION credits_post(
    p_wallet bigint, p_kind text, p_account text, p_amount bigint, p_key text,
    p_note text, p_actor bigint,
    p_category text DEFAULT 'paid', p_priority smallint DEFAULT 50,
    p_expires_at timestamptz DEFAULT NULL, p_paid bigint DEFAULT 0
) RETURNS credits_entry LANGUAGE plpgsql AS $$
DECLARE
    v_wallet credits_wallet;
    v_entry credits_entry;
    v_lot credits_lot;
    v_left bigint;
    v_part bigint;
    v_time timestamptz;
BEGIN
    SELECT * INTO v_wallet FROM credits_wallet WHERE id = p_wallet FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such wallet' USING ERRCODE = 'CR001';
    END IF;

    SELECT * INTO v_entry FROM credits_entry WHERE wallet_id = p_wallet AND key = p_key;
    IF FOUND THEN
        SELECT * INTO v_lot FROM credits_lot WHERE wallet_id = p_wallet AND id = v_entry.id;
        IF (v_entry.kind, v_entry.amount) IS DISTINCT FROM (p_kind, p_amount)
            OR v_lot.id IS NOT NULL
                AND (v_lot.category, v_lot.priority, v_lot.expires_at, v_lot.paid)
                    IS DISTINCT FROM (p_category, p_priority, p_expires_at, p_paid)
        THEN
            RAISE EXCEPTION 'key used with other inputs' USING ERRCODE = 'CR002';
        END IF;
        RETURN v_entry;
    END IF;

    IF v_wallet.balance + p_amount > 9007199254740991 THEN
        RAISE EXCEPTION 'balance too large' USING ERRCODE = 'CR004';
    END IF;
    IF v_wallet.balance + p_amount < v_wallet.held THEN
        RAISE EXCEPTION 'not enough credits' USING
            ERRCODE = 'CR003', DETAIL = v_wallet.balance - v_wallet.held;
    END IF;

    -- After the lock, so that a wallet's entries are in the order of their times as of their ids.
    v_time := clock_timestamp();
    UPDATE credits_wallet SET balance = balance + p_amount WHERE id = p_wallet;
    INSERT INTO credits_entry
        (wallet_id, kind, account, amount, balance, key, note, actor_id, created_at)
    VALUES
        (p_wallet, p_kind, p_account, p_amount, v_wallet.balance + p_amount, p_key, p_note,
         p_actor, v_time)
    RETURNING * INTO v_entry;

    IF p_amount > 0 THEN
        INSERT INTO credits_lot
            (id, wallet_id, amount, remaining, category, priority, expires_at, paid)
        VALUES
            (v_entry.id, p_wallet, p_amount, p_amount, p_category, p_priority, p_expires_at, p_paid);
        RETURN v_entry;
    END IF;

    v_left := -p_amount;
    FOR v_lot IN
        SELECT * FROM credits_lot
        WHERE wallet_id = p_wallet AND remaining > 0
            AND (expires_at IS NULL OR expires_at > v_time)
        ORDER BY priority, expires_at, category DESC, id
    LOOP
        v_part := least(v_left, v_lot.remaining);
        UPDATE credits_lot SET remaining = remaining - v_part
            WHERE wallet_id = p_wallet AND id = v_lot.id;
        INSERT INTO credits_draw (wallet_id, entry_id, lot_id, amount)
            VALUES (p_wallet, v_entry.id, v_lot.id, v_part);
        v_left := v_left - v_part;
        EXIT WHEN v_left = 0;
    END LOOP;
    IF v_left > 0 THEN
        -- Some of the balance has expired and is not booked as such yet.
        RAISE EXCEPTION 'not enough credits' USING ERRCODE = 'CR003', DETAIL = -p_amount - v_left;
    END IF;
    RETURN v_entry;
END $$;
