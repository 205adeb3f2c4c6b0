-- The ledger's verbs. Each locks one wallet's row first and reads everything else after that: under
-- READ COMMITTED each statement of a function sees what was committed before the lock was granted.
-- So two bookings on one wallet happen one after the other, and those on different wallets never
-- meet. Then it answers what the same key has booked before, or settles what time has done, checks,
-- and books.
--
-- They raise, and write nothing then:
--   CR001 no such wallet                  CR009 no such transfer
--   CR002 key used with other inputs      CR010 the transfer has arrived
--   CR003 not enough (DETAIL: available)  CR011 no such hold
--   CR004 past 2^53 - 1                   CR012 the hold was captured
--   CR005 expired already                 CR013 the hold was released
--   CR006 no such entry to be about       CR014 the hold has lapsed
--   CR007 more than was granted           CR015 more than is held
--   CR008 credits are owed                CR016 more than was taken back

-- The wallet, locked until the transaction ends. Foreign keys that point to it don't wait.
CREATE FUNCTION credits_lock(p_wallet bigint) RETURNS credits_wallet LANGUAGE plpgsql AS $$
DECLARE
    v_wallet credits_wallet;
BEGIN
    SELECT * INTO v_wallet FROM credits_wallet WHERE id = p_wallet FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such wallet' USING ERRCODE = 'CR001';
    END IF;
    RETURN v_wallet;
END $$;

-- The part of a lot's cost that leaves with some of its credits, when so many are undrawn (remaining
-- or held). Cost follows what is left, rounded down, so that all parts add up to the whole.
CREATE FUNCTION credits_cost(p_paid bigint, p_amount bigint, p_undrawn bigint, p_part bigint)
RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN p_paid = 0 THEN 0 ELSE
        (div(p_paid::numeric * p_undrawn, p_amount)
         - div(p_paid::numeric * (p_undrawn - p_part), p_amount))::bigint END
$$;

-- The entry itself. The caller has the lock, and draws on lots or opens one.
CREATE FUNCTION credits_book(
    p_wallet bigint, p_kind text, p_account text, p_amount bigint, p_owed bigint, p_key text,
    p_about bigint, p_note text, p_actor bigint
) RETURNS credits_entry LANGUAGE plpgsql AS $$
DECLARE
    v_entry credits_entry;
    v_balance bigint;
BEGIN
    UPDATE credits_wallet SET balance = balance + p_amount, owed = owed + p_owed
        WHERE id = p_wallet RETURNING balance INTO v_balance;
    -- The clock and not the transaction's start: a wallet's entries are in the order of their times
    -- as of their ids.
    INSERT INTO credits_entry
        (wallet_id, kind, account, amount, owed, balance, key, about_id, note, actor_id, created_at)
    VALUES
        (p_wallet, p_kind, p_account, p_amount, p_owed, v_balance, p_key, p_about, p_note, p_actor,
         clock_timestamp())
    RETURNING * INTO v_entry;
    RETURN v_entry;
END $$;

-- Credits in may not pass the largest balance.
CREATE FUNCTION credits_check_room(p_wallet credits_wallet, p_amount bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF p_wallet.balance + p_amount > 9007199254740991 THEN
        RAISE EXCEPTION 'balance too large' USING ERRCODE = 'CR004';
    END IF;
END $$;

-- Take some of a lot for an entry.
CREATE FUNCTION credits_draw_on(p_lot credits_lot, p_entry bigint, p_part bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE credits_lot SET remaining = remaining - p_part
        WHERE wallet_id = p_lot.wallet_id AND id = p_lot.id;
    INSERT INTO credits_draw (wallet_id, entry_id, lot_id, amount, paid)
    VALUES (p_lot.wallet_id, p_entry, p_lot.id, p_part,
            credits_cost(p_lot.paid, p_lot.amount, p_lot.remaining + p_lot.held, p_part));
END $$;

-- Take an amount from the open lots, in the order of spending.
CREATE FUNCTION credits_draw_open(p_wallet bigint, p_entry bigint, p_amount bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_lot credits_lot;
    v_part bigint;
BEGIN
    FOR v_lot IN
        SELECT * FROM credits_lot WHERE wallet_id = p_wallet AND is_open
        ORDER BY priority, expires_at, category DESC, id
    LOOP
        v_part := least(p_amount, v_lot.remaining);
        PERFORM credits_draw_on(v_lot, p_entry, v_part);
        p_amount := p_amount - v_part;
        EXIT WHEN p_amount = 0;
    END LOOP;
END $$;

-- Take back credits under a key: from the lots that an entry brought, then from other paid ones,
-- and never more than there are. `p_amount` is what is claimed; where `p_adds_debt`, what is not
-- found is owed from now on, else the claim is a debt and what is found repays it.
CREATE FUNCTION credits_take_back(
    p_wallet bigint, p_kind text, p_amount bigint, p_adds_debt boolean, p_key text, p_about bigint,
    p_note text, p_actor bigint
) RETURNS credits_entry LANGUAGE plpgsql AS $$
DECLARE
    v_entry credits_entry;
    v_lot credits_lot;
    v_found bigint;
    v_part bigint;
BEGIN
    SELECT least(coalesce(sum(remaining), 0), p_amount) INTO v_found FROM credits_lot
        WHERE wallet_id = p_wallet AND is_open AND (entry_id = p_about OR category = 'paid');
    IF v_found = 0 AND NOT p_adds_debt THEN
        RETURN NULL;
    END IF;
    v_entry := credits_book(
        p_wallet, p_kind, 'revoked', -v_found,
        CASE WHEN p_adds_debt THEN p_amount - v_found ELSE -v_found END,
        p_key, p_about, p_note, p_actor);
    IF v_found = 0 THEN
        RETURN v_entry;
    END IF;
    FOR v_lot IN
        SELECT * FROM credits_lot
        WHERE wallet_id = p_wallet AND is_open AND (entry_id = p_about OR category = 'paid')
        ORDER BY (entry_id = p_about) DESC NULLS LAST, priority, expires_at, category DESC, id
    LOOP
        v_part := least(v_found, v_lot.remaining);
        PERFORM credits_draw_on(v_lot, v_entry.id, v_part);
        v_found := v_found - v_part;
        EXIT WHEN v_found = 0;
    END LOOP;
    RETURN v_entry;
END $$;

-- Repay what is owed with what has just come in; `p_key` and `p_arrived` say what that is.
CREATE FUNCTION credits_repay(p_wallet bigint, p_owed bigint, p_key text, p_arrived bigint)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF p_owed > 0 THEN
        PERFORM credits_take_back(
            p_wallet, 'repayment', p_owed, false, 'repayment:' || p_key, p_arrived, '', NULL);
    END IF;
END $$;

-- Give back to its lots what a hold has reserved.
CREATE FUNCTION credits_free(p_wallet bigint, p_hold credits_hold, p_status text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE credits_lot l SET remaining = l.remaining + d.amount, held = l.held - d.amount
        FROM credits_holddraw d
        WHERE d.wallet_id = p_wallet AND d.hold_id = p_hold.id
            AND l.wallet_id = p_wallet AND l.id = d.lot_id;
    UPDATE credits_wallet SET held = held - p_hold.amount WHERE id = p_wallet;
    UPDATE credits_hold SET status = p_status, closed_at = clock_timestamp()
        WHERE wallet_id = p_wallet AND id = p_hold.id;
END $$;

-- Book what time has done to a locked wallet: holds that have lapsed are free again, and lots that
-- have expired are gone, also those that a hold gave something back to. Answers the wallet as it is
-- then: whatever is in an open lot can be spent. A verb has one time for all that it does.
CREATE FUNCTION credits_settle(p_wallet credits_wallet, p_time timestamptz) RETURNS credits_wallet
LANGUAGE plpgsql AS $$
DECLARE
    v_hold credits_hold;
    v_lot credits_lot;
    v_entry credits_entry;
    v_freed text;
    v_is_stale boolean := false;
BEGIN
    IF p_wallet.held = 0 AND NOT EXISTS (
        SELECT FROM credits_lot
        WHERE wallet_id = p_wallet.id AND is_open AND expires_at IS NOT NULL AND expires_at <= p_time
    ) THEN
        RETURN p_wallet; -- nothing has happened: the usual case, and quick to tell
    END IF;
    IF p_wallet.held > 0 THEN
        FOR v_hold IN
            SELECT * FROM credits_hold
            WHERE wallet_id = p_wallet.id AND status = 'open' AND expires_at <= p_time
            ORDER BY expires_at, id
        LOOP
            PERFORM credits_free(p_wallet.id, v_hold, 'lapsed');
            v_freed := 'hold:' || v_hold.id;
            v_is_stale := true;
        END LOOP;
    END IF;
    FOR v_lot IN
        SELECT * FROM credits_lot
        WHERE wallet_id = p_wallet.id AND is_open AND expires_at IS NOT NULL AND expires_at <= p_time
        ORDER BY expires_at, id
    LOOP
        -- What was drawn so far tells the expiry of what a hold gave back from the one before.
        v_entry := credits_book(
            p_wallet.id, 'expiry', 'expired', -v_lot.remaining, 0,
            format('expiry:%s:%s', v_lot.id, v_lot.amount - v_lot.remaining - v_lot.held),
            NULL, '', NULL);
        PERFORM credits_draw_on(v_lot, v_entry.id, v_lot.remaining);
        v_is_stale := true;
    END LOOP;
    IF v_freed IS NOT NULL THEN
        PERFORM credits_repay(p_wallet.id, p_wallet.owed, v_freed, NULL);
    END IF;
    IF v_is_stale THEN
        SELECT * INTO p_wallet FROM credits_wallet WHERE id = p_wallet.id;
    END IF;
    RETURN p_wallet;
END $$;

-- For wallets that nobody books on: `expire_due`.
CREATE FUNCTION credits_settle_now(p_wallet bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM credits_settle(credits_lock(p_wallet), clock_timestamp());
END $$;

-- What the key has booked, if anything. Raises unless that was the same.
CREATE FUNCTION credits_replay(
    p_wallet bigint, p_key text, p_kind text, p_moved bigint, p_about bigint DEFAULT NULL
) RETURNS credits_entry LANGUAGE plpgsql AS $$
DECLARE
    v_entry credits_entry;
BEGIN
    SELECT * INTO v_entry FROM credits_entry WHERE wallet_id = p_wallet AND key = p_key;
    -- What was asked for is what was moved and what is owed instead. A repayment has no key of
    -- its caller's.
    IF v_entry.id IS NOT NULL AND
        (v_entry.kind, v_entry.amount - v_entry.owed, v_entry.about_id)
            IS DISTINCT FROM (p_kind, p_moved, p_about)
    THEN
        RAISE EXCEPTION 'key used with other inputs' USING ERRCODE = 'CR002';
    END IF;
    RETURN v_entry;
END $$;

-- Credits in, as a lot of their own: grants, and corrections upwards. A lot expires at
-- `p_expires_at`, or `p_expires_after` from now, or never; only the first is part of what a key
-- stands for, since the other is the shop's default, which may change between two deliveries.
CREATE FUNCTION credits_grant(
    p_wallet bigint, p_kind text, p_account text, p_amount bigint, p_key text, p_note text,
    p_actor bigint, p_category text, p_priority smallint, p_expires_at timestamptz,
    p_expires_after interval, p_paid bigint
) RETURNS credits_entry LANGUAGE plpgsql AS $$
DECLARE
    v_wallet credits_wallet := credits_lock(p_wallet);
    v_time timestamptz := clock_timestamp();
    v_entry credits_entry := credits_replay(p_wallet, p_key, p_kind, p_amount);
    v_lot credits_lot;
BEGIN
    IF v_entry.id IS NOT NULL THEN
        SELECT * INTO v_lot FROM credits_lot WHERE wallet_id = p_wallet AND entry_id = v_entry.id;
        IF (v_lot.category, v_lot.priority, v_lot.paid)
                IS DISTINCT FROM (p_category, p_priority, p_paid)
            OR p_expires_at IS NOT NULL AND v_lot.expires_at IS DISTINCT FROM p_expires_at
        THEN
            RAISE EXCEPTION 'key used with other inputs' USING ERRCODE = 'CR002';
        END IF;
        RETURN v_entry;
    END IF;
    IF p_expires_at <= v_time THEN
        RAISE EXCEPTION 'expired already' USING ERRCODE = 'CR005';
    END IF;
    v_wallet := credits_settle(v_wallet, v_time);
    PERFORM credits_check_room(v_wallet, p_amount);
    v_entry := credits_book(p_wallet, p_kind, p_account, p_amount, 0, p_key, NULL, p_note, p_actor);
    INSERT INTO credits_lot
        (wallet_id, entry_id, amount, remaining, held, revoked, category, priority, expires_at, paid)
    VALUES
        (p_wallet, v_entry.id, p_amount, p_amount, 0, 0, p_category, p_priority,
         coalesce(p_expires_at, v_entry.created_at + p_expires_after), p_paid);
    PERFORM credits_repay(p_wallet, v_wallet.owed, v_entry.id::text, v_entry.id);
    RETURN v_entry;
END $$;

-- Credits out, from the lots in order: spends, and corrections downwards.
CREATE FUNCTION credits_take(
    p_wallet bigint, p_kind text, p_account text, p_amount bigint, p_key text, p_note text,
    p_actor bigint
) RETURNS credits_entry LANGUAGE plpgsql AS $$
DECLARE
    v_wallet credits_wallet := credits_lock(p_wallet);
    v_time timestamptz := clock_timestamp();
    v_entry credits_entry := credits_replay(p_wallet, p_key, p_kind, -p_amount);
BEGIN
    IF v_entry.id IS NOT NULL THEN
        RETURN v_entry;
    END IF;
    v_wallet := credits_settle(v_wallet, v_time);
    IF v_wallet.balance - v_wallet.held < p_amount THEN
        RAISE EXCEPTION 'not enough credits' USING
            ERRCODE = 'CR003', DETAIL = v_wallet.balance - v_wallet.held;
    END IF;
    v_entry := credits_book(p_wallet, p_kind, p_account, -p_amount, 0, p_key, NULL, p_note, p_actor);
    PERFORM credits_draw_open(p_wallet, v_entry.id, p_amount);
    RETURN v_entry;
END $$;

-- A clawback of what the entry with the key `p_of` brought: from its own lot, then from other paid
-- ones; the rest is owed. Never more than it brought, however often it is clawed back.
CREATE FUNCTION credits_revoke(
    p_wallet bigint, p_kind text, p_amount bigint, p_key text, p_of text, p_note text,
    p_actor bigint
) RETURNS credits_entry LANGUAGE plpgsql AS $$
DECLARE
    v_wallet credits_wallet := credits_lock(p_wallet);
    v_time timestamptz := clock_timestamp();
    v_entry credits_entry;
    v_lot credits_lot := credits_lot_of(p_wallet, p_of);
BEGIN
    v_entry := credits_replay(p_wallet, p_key, p_kind, -p_amount, v_lot.entry_id);
    IF v_entry.id IS NOT NULL THEN
        RETURN v_entry;
    END IF;
    IF v_lot.revoked + p_amount > v_lot.amount THEN
        RAISE EXCEPTION 'more than was granted' USING
            ERRCODE = 'CR007', DETAIL = v_lot.amount - v_lot.revoked;
    END IF;
    v_wallet := credits_settle(v_wallet, v_time);
    v_entry := credits_take_back(
        p_wallet, p_kind, p_amount, true, p_key, v_lot.entry_id, p_note, p_actor);
    UPDATE credits_lot SET revoked = revoked + p_amount WHERE wallet_id = p_wallet AND id = v_lot.id;
    RETURN v_entry;
END $$;

-- The reverse: what was clawed back of an entry comes in again, on the terms of its lot.
CREATE FUNCTION credits_restore(
    p_wallet bigint, p_amount bigint, p_key text, p_of text, p_note text, p_actor bigint
) RETURNS credits_entry LANGUAGE plpgsql AS $$
DECLARE
    v_wallet credits_wallet := credits_lock(p_wallet);
    v_time timestamptz := clock_timestamp();
    v_lot credits_lot := credits_lot_of(p_wallet, p_of);
    v_entry credits_entry;
BEGIN
    v_entry := credits_replay(p_wallet, p_key, 'restoral', p_amount, v_lot.entry_id);
    IF v_entry.id IS NOT NULL THEN
        RETURN v_entry;
    END IF;
    IF v_lot.revoked < p_amount THEN
        RAISE EXCEPTION 'more than was taken back' USING ERRCODE = 'CR016', DETAIL = v_lot.revoked;
    END IF;
    PERFORM credits_check_room(credits_settle(v_wallet, v_time), p_amount);
    v_entry := credits_book(
        p_wallet, 'restoral', 'revoked', p_amount, 0, p_key, v_lot.entry_id, p_note, p_actor);
    UPDATE credits_lot SET revoked = revoked - p_amount WHERE wallet_id = p_wallet AND id = v_lot.id;
    INSERT INTO credits_lot
        (wallet_id, entry_id, amount, remaining, held, revoked, category, priority, expires_at, paid)
    VALUES
        (p_wallet, v_entry.id, p_amount, p_amount, 0, 0, v_lot.category, v_lot.priority,
         v_lot.expires_at, credits_cost(v_lot.paid, v_lot.amount, v_lot.revoked, p_amount));
    -- Its time may be up by now.
    v_wallet := credits_settle_again(p_wallet, v_time);
    PERFORM credits_repay(p_wallet, v_wallet.owed, v_entry.id::text, v_entry.id);
    RETURN v_entry;
END $$;

-- The lot that a grant opened, by the grant's key.
CREATE FUNCTION credits_lot_of(p_wallet bigint, p_key text) RETURNS credits_lot
LANGUAGE plpgsql AS $$
DECLARE
    v_lot credits_lot;
BEGIN
    SELECT l.* INTO v_lot
        FROM credits_entry e JOIN credits_lot l ON l.wallet_id = e.wallet_id AND l.entry_id = e.id
        WHERE e.wallet_id = p_wallet AND e.key = p_key AND e.account = 'issued';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such grant' USING ERRCODE = 'CR006';
    END IF;
    RETURN v_lot;
END $$;

-- After something was given back or brought in whose time may be up already.
CREATE FUNCTION credits_settle_again(p_wallet bigint, p_time timestamptz) RETURNS credits_wallet
LANGUAGE plpgsql AS $$
DECLARE
    v_wallet credits_wallet;
BEGIN
    SELECT * INTO v_wallet FROM credits_wallet WHERE id = p_wallet;
    RETURN credits_settle(v_wallet, p_time);
END $$;

-- Reserve credits for some seconds.
CREATE FUNCTION credits_place_hold(p_wallet bigint, p_amount bigint, p_key text, p_seconds integer)
RETURNS credits_hold LANGUAGE plpgsql AS $$
DECLARE
    v_wallet credits_wallet := credits_lock(p_wallet);
    v_time timestamptz := clock_timestamp();
    v_hold credits_hold;
    v_lot credits_lot;
    v_part bigint;
BEGIN
    SELECT * INTO v_hold FROM credits_hold WHERE wallet_id = p_wallet AND key = p_key;
    IF FOUND THEN
        IF (v_hold.amount, v_hold.expires_at - v_hold.created_at)
            IS DISTINCT FROM (p_amount, make_interval(secs => p_seconds))
        THEN
            RAISE EXCEPTION 'key used with other inputs' USING ERRCODE = 'CR002';
        END IF;
        RETURN v_hold;
    END IF;
    v_wallet := credits_settle(v_wallet, v_time);
    IF v_wallet.balance - v_wallet.held < p_amount THEN
        RAISE EXCEPTION 'not enough credits' USING
            ERRCODE = 'CR003', DETAIL = v_wallet.balance - v_wallet.held;
    END IF;
    UPDATE credits_wallet SET held = held + p_amount WHERE id = p_wallet;
    INSERT INTO credits_hold (wallet_id, key, amount, status, expires_at, created_at)
        VALUES (p_wallet, p_key, p_amount, 'open', v_time + make_interval(secs => p_seconds), v_time)
        RETURNING * INTO v_hold;
    FOR v_lot IN
        SELECT * FROM credits_lot WHERE wallet_id = p_wallet AND is_open
        ORDER BY priority, expires_at, category DESC, id
    LOOP
        v_part := least(p_amount, v_lot.remaining);
        UPDATE credits_lot SET remaining = remaining - v_part, held = held + v_part
            WHERE wallet_id = p_wallet AND id = v_lot.id;
        INSERT INTO credits_holddraw (wallet_id, hold_id, lot_id, amount)
            VALUES (p_wallet, v_hold.id, v_lot.id, v_part);
        p_amount := p_amount - v_part;
        EXIT WHEN p_amount = 0;
    END LOOP;
    RETURN v_hold;
END $$;

-- An open hold, or the reason why it is none.
CREATE FUNCTION credits_open_hold(p_wallet bigint, p_hold bigint, p_time timestamptz)
RETURNS credits_hold LANGUAGE plpgsql AS $$
DECLARE
    v_hold credits_hold;
BEGIN
    SELECT * INTO v_hold FROM credits_hold WHERE wallet_id = p_wallet AND id = p_hold;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such hold' USING ERRCODE = 'CR011';
    ELSIF v_hold.status = 'captured' THEN
        RAISE EXCEPTION 'captured' USING ERRCODE = 'CR012';
    ELSIF v_hold.status = 'released' THEN
        RAISE EXCEPTION 'released' USING ERRCODE = 'CR013';
    ELSIF v_hold.status = 'lapsed' OR v_hold.expires_at <= p_time THEN
        RAISE EXCEPTION 'lapsed' USING ERRCODE = 'CR014';
    END IF;
    RETURN v_hold;
END $$;

-- Spend up to what is held, from the lots that were drawn, in their order; the rest is free again.
CREATE FUNCTION credits_capture(
    p_wallet bigint, p_hold bigint, p_amount bigint, p_note text, p_actor bigint
) RETURNS credits_entry LANGUAGE plpgsql AS $$
DECLARE
    v_wallet credits_wallet := credits_lock(p_wallet);
    v_time timestamptz := clock_timestamp();
    v_hold credits_hold := credits_open_hold(p_wallet, p_hold, v_time);
    v_entry credits_entry;
    v_lot credits_lot;
    v_left bigint := p_amount;
    v_held bigint;
    v_part bigint;
BEGIN
    IF p_amount > v_hold.amount THEN
        RAISE EXCEPTION 'more than is held' USING ERRCODE = 'CR015', DETAIL = v_hold.amount;
    END IF;
    PERFORM credits_settle(v_wallet, v_time);
    PERFORM credits_free(p_wallet, v_hold, 'released');
    v_entry := credits_book(
        p_wallet, 'spend', 'spent', -p_amount, 0, 'hold:' || v_hold.id, NULL, p_note, p_actor);
    UPDATE credits_hold SET status = 'captured', entry_id = v_entry.id
        WHERE wallet_id = p_wallet AND id = p_hold;
    FOR v_lot IN
        SELECT l.* FROM credits_lot l
            JOIN credits_holddraw d ON d.wallet_id = l.wallet_id AND d.lot_id = l.id
        WHERE d.wallet_id = p_wallet AND d.hold_id = p_hold
        ORDER BY l.priority, l.expires_at, l.category DESC, l.id
    LOOP
        SELECT amount INTO v_held FROM credits_holddraw
            WHERE wallet_id = p_wallet AND hold_id = p_hold AND lot_id = v_lot.id;
        v_part := least(v_left, v_held);
        PERFORM credits_draw_on(v_lot, v_entry.id, v_part);
        v_left := v_left - v_part;
        EXIT WHEN v_left = 0;
    END LOOP;
    IF p_amount < v_hold.amount THEN
        v_wallet := credits_settle_again(p_wallet, v_time);
        PERFORM credits_repay(p_wallet, v_wallet.owed, 'hold:' || v_hold.id, NULL);
    END IF;
    RETURN v_entry;
END $$;

CREATE FUNCTION credits_release(p_wallet bigint, p_hold bigint) RETURNS credits_hold
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
        PERFORM credits_free(p_wallet, v_hold, 'released');
        v_wallet := credits_settle_again(p_wallet, v_time);
        PERFORM credits_repay(p_wallet, v_wallet.owed, 'hold:' || v_hold.id, NULL);
    END IF;
    SELECT * INTO v_hold FROM credits_hold WHERE wallet_id = p_wallet AND id = p_hold;
    RETURN v_hold;
END $$;

-- Credits leave for escrow.
CREATE FUNCTION credits_send(
    p_wallet bigint, p_amount bigint, p_key text, p_note text, p_actor bigint
) RETURNS credits_entry LANGUAGE plpgsql AS $$
DECLARE
    v_wallet credits_wallet := credits_lock(p_wallet);
    v_time timestamptz := clock_timestamp();
    v_entry credits_entry := credits_replay(p_wallet, p_key, 'gift_sent', -p_amount);
BEGIN
    IF v_entry.id IS NOT NULL THEN
        RETURN v_entry;
    END IF;
    v_wallet := credits_settle(v_wallet, v_time);
    IF v_wallet.owed > 0 THEN
        RAISE EXCEPTION 'credits are owed' USING ERRCODE = 'CR008', DETAIL = v_wallet.owed;
    END IF;
    v_entry := credits_take(p_wallet, 'gift_sent', 'escrow', p_amount, p_key, p_note, p_actor);
    INSERT INTO credits_transfer (wallet_id, entry_id, amount)
        VALUES (p_wallet, v_entry.id, p_amount);
    RETURN v_entry;
END $$;

-- Credits arrive from escrow, where the transfer is looked up by the entry that sent them; each of
-- the lots that were drawn on goes on with its terms and its part of the cost. The transfer is
-- locked first and one wallet after it, by everybody.
CREATE FUNCTION credits_receive(
    p_wallet bigint, p_kind text, p_from bigint, p_sent bigint, p_key text, p_note text,
    p_actor bigint
) RETURNS credits_entry LANGUAGE plpgsql AS $$
DECLARE
    v_transfer credits_transfer;
    v_wallet credits_wallet;
    v_entry credits_entry;
    v_time timestamptz;
BEGIN
    SELECT * INTO v_transfer FROM credits_transfer
        WHERE wallet_id = p_from AND entry_id = p_sent FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such transfer' USING ERRCODE = 'CR009';
    END IF;
    v_wallet := credits_lock(p_wallet);
    v_time := clock_timestamp();
    v_entry := credits_replay(p_wallet, p_key, p_kind, v_transfer.amount);
    IF v_entry.id IS NOT NULL THEN
        IF (v_transfer.to_wallet_id, v_transfer.to_entry_id)
            IS DISTINCT FROM (p_wallet, v_entry.id)
        THEN
            RAISE EXCEPTION 'key used with other inputs' USING ERRCODE = 'CR002';
        END IF;
        RETURN v_entry;
    END IF;
    IF v_transfer.to_wallet_id IS NOT NULL THEN
        RAISE EXCEPTION 'the transfer has arrived' USING ERRCODE = 'CR010';
    END IF;
    PERFORM credits_check_room(credits_settle(v_wallet, v_time), v_transfer.amount);
    v_entry := credits_book(
        p_wallet, p_kind, 'escrow', v_transfer.amount, 0, p_key, NULL, p_note, p_actor);
    UPDATE credits_transfer SET to_wallet_id = p_wallet, to_entry_id = v_entry.id
        WHERE wallet_id = p_from AND entry_id = p_sent;
    INSERT INTO credits_lot
        (wallet_id, entry_id, amount, remaining, held, revoked, category, priority, expires_at, paid)
    SELECT p_wallet, v_entry.id, d.amount, d.amount, 0, 0, l.category, l.priority, l.expires_at,
           d.paid
        FROM credits_draw d JOIN credits_lot l ON l.wallet_id = d.wallet_id AND l.id = d.lot_id
        WHERE d.wallet_id = p_from AND d.entry_id = p_sent
        ORDER BY l.priority, l.expires_at, l.category DESC, l.id;
    -- The time of some may have run out on the way.
    v_wallet := credits_settle_again(p_wallet, v_time);
    PERFORM credits_repay(p_wallet, v_wallet.owed, v_entry.id::text, v_entry.id);
    RETURN v_entry;
END $$;

-- What a user has at this moment, as if all were settled: (balance, held, owed), or no row.
CREATE FUNCTION credits_standing(p_user bigint)
RETURNS TABLE (balance bigint, held bigint, owed bigint) LANGUAGE sql STABLE AS $$
    WITH wallet AS (
        SELECT * FROM credits_wallet WHERE user_id = p_user
    ), expired AS (
        SELECT coalesce(sum(l.remaining), 0) AS credits
        FROM wallet w JOIN credits_lot l ON l.wallet_id = w.id
        WHERE l.is_open AND l.expires_at IS NOT NULL AND l.expires_at <= statement_timestamp()
    ), lapsed AS (
        -- Free again; but gone where the lot has expired meanwhile, and where it repays a debt.
        SELECT coalesce(sum(d.amount), 0) AS credits,
               coalesce(sum(d.amount) FILTER (
                   WHERE l.expires_at <= statement_timestamp()), 0) AS expired,
               coalesce(sum(d.amount) FILTER (
                   WHERE l.category = 'paid'
                   AND (l.expires_at IS NULL OR l.expires_at > statement_timestamp())), 0) AS paid
        FROM wallet w
            JOIN credits_hold h ON h.wallet_id = w.id AND h.status = 'open'
                AND h.expires_at <= statement_timestamp()
            JOIN credits_holddraw d ON d.wallet_id = h.wallet_id AND d.hold_id = h.id
            JOIN credits_lot l ON l.wallet_id = d.wallet_id AND l.id = d.lot_id
        WHERE w.held > 0
    )
    SELECT (w.balance - e.credits - l.expired - least(w.owed, l.paid))::bigint,
           (w.held - l.credits)::bigint,
           (w.owed - least(w.owed, l.paid))::bigint
    FROM wallet w, expired e, lapsed l
$$;

-- What a user can spend now; 0 without a wallet. For lists of users.
CREATE FUNCTION credits_available(p_user bigint) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT balance - held FROM credits_standing(p_user)), 0)
$$;
