-- Gifts: which lots may be given away, where given credits are found again, and how a clawback fetches
-- them back (docs/decisions/0032-gifts.md).
--
-- Some verbs are about several wallets now. The one order for all of them: first the wallets, in the
-- order of their ids (`credits_lock_all`), and then whatever else. Who receives locks the sender's wallet
-- too. So while a wallet is locked nothing that it has sent arrives anywhere, and no two of these verbs
-- can wait for each other.
--
-- They raise besides:
--   CR017 not enough that may be given (DETAIL: how many may)

-- A lot that came out of escrow knows the lot that it is a part of: the one that a grant or a restoral
-- opened, however often it was given on since.
ALTER TABLE credits_lot ADD CONSTRAINT credits_lot_of_origin
    FOREIGN KEY (origin_wallet_id, origin_lot_id) REFERENCES credits_lot (wallet_id, id) MATCH FULL;

-- As in 0011_spend_on_debt.sql, but what was given may be fetched back.
CREATE OR REPLACE FUNCTION credits_is_sound(
    p_kind text, p_account text, p_amount bigint, p_owed bigint
) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    CASE p_kind
        WHEN 'spend' THEN
            RETURN p_account = 'spent' AND p_amount <= 0 AND p_owed >= 0 AND p_amount < p_owed;
        WHEN 'spend_repaid' THEN
            RETURN p_account = 'spent' AND p_amount < 0 AND p_owed = p_amount;
        WHEN 'purchase', 'renewal', 'promotion' THEN
            RETURN p_account = 'issued' AND p_amount > 0 AND p_owed = 0;
        WHEN 'gift_sent', 'gift_recalled' THEN
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

-- Several wallets, locked in the one order until the transaction ends.
CREATE FUNCTION credits_lock_all(p_wallets bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_wallet bigint;
BEGIN
    FOR v_wallet IN SELECT DISTINCT id FROM unnest(p_wallets) AS id ORDER BY id LOOP
        PERFORM credits_lock(v_wallet);
    END LOOP;
END $$;

-- The lots that a grant opened in its wallet: its own, and those of what was restored of it.
CREATE FUNCTION credits_roots(p_wallet bigint, p_grant bigint) RETURNS bigint[] LANGUAGE plpgsql AS $$
BEGIN
    RETURN ARRAY(
        SELECT id FROM credits_lot WHERE wallet_id = p_wallet AND entry_id = p_grant
        UNION ALL
        SELECT l.id FROM credits_entry e
            JOIN credits_lot l ON l.wallet_id = e.wallet_id AND l.entry_id = e.id
        WHERE e.wallet_id = p_wallet AND e.kind = 'restoral' AND e.about_id = p_grant);
END $$;

-- The open lots of a grant in its own wallet: those, and what came back of what was given.
CREATE FUNCTION credits_own(p_wallet bigint, p_roots bigint[]) RETURNS bigint[] LANGUAGE plpgsql AS $$
BEGIN
    -- By id and by origin, never through all open lots of the wallet: OFFSET 0 keeps the conditions apart.
    RETURN ARRAY(
        SELECT id FROM (
            SELECT id, is_open FROM credits_lot
            WHERE wallet_id = p_wallet AND id = ANY (p_roots) OFFSET 0
        ) AS opened WHERE is_open
        UNION ALL
        SELECT id FROM (
            SELECT id, wallet_id, is_open FROM credits_lot
            WHERE origin_wallet_id = p_wallet AND origin_lot_id = ANY (p_roots) OFFSET 0
        ) AS given WHERE wallet_id = p_wallet AND is_open);
END $$;

-- The lots that may be given away now: paid ones with something left, of the owner's own purchases and
-- renewals, or of others' where gifts may be given on; bought `p_age` ago or earlier, and not by a grant
-- whose key is in `p_except`.
CREATE FUNCTION credits_giftable(
    p_wallet bigint, p_age interval, p_regift boolean, p_except text[]
) RETURNS SETOF credits_lot LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY
    SELECT lot.*
    FROM credits_lot AS lot
        JOIN credits_lot AS root ON root.wallet_id = coalesce(lot.origin_wallet_id, lot.wallet_id)
            AND root.id = coalesce(lot.origin_lot_id, lot.id)
        JOIN credits_entry AS opened ON opened.wallet_id = root.wallet_id AND opened.id = root.entry_id
        JOIN credits_entry AS bought ON bought.wallet_id = opened.wallet_id
            AND bought.id = CASE opened.kind WHEN 'restoral' THEN opened.about_id ELSE opened.id END
    WHERE lot.wallet_id = p_wallet AND lot.is_open AND lot.category = 'paid'
        AND (lot.expires_at IS NULL OR lot.expires_at > clock_timestamp())
        AND bought.kind IN ('purchase', 'renewal')
        AND bought.created_at <= clock_timestamp() - p_age
        AND bought.key <> ALL (p_except)
        AND (root.wallet_id = p_wallet OR p_regift);
END $$;

-- Credits of some lots leave a locked and settled wallet for escrow, in the order of spending.
CREATE FUNCTION credits_leave(
    p_wallet credits_wallet, p_kind text, p_amount bigint, p_lots bigint[], p_key text, p_about bigint,
    p_note text, p_actor bigint
) RETURNS credits_entry LANGUAGE plpgsql AS $$
DECLARE
    v_entry credits_entry;
    v_lot credits_lot;
    v_left bigint := p_amount;
    v_part bigint;
BEGIN
    v_entry := credits_book(
        p_wallet.id, p_kind, 'escrow', -p_amount, 0, p_key, p_about, p_note, p_actor);
    FOR v_lot IN
        SELECT * FROM credits_lot
        WHERE wallet_id = p_wallet.id AND id = ANY (p_lots) AND is_open
        ORDER BY priority, expires_at, category DESC, id
    LOOP
        v_part := least(v_left, v_lot.remaining);
        PERFORM credits_draw_on(v_lot, v_entry.id, v_part);
        v_left := v_left - v_part;
        EXIT WHEN v_left = 0;
    END LOOP;
    INSERT INTO credits_transfer (wallet_id, entry_id, amount)
        VALUES (p_wallet.id, v_entry.id, p_amount);
    RETURN v_entry;
END $$;

-- Raises unless some lots have so many, and nothing is owed.
CREATE FUNCTION credits_check_gift(p_wallet credits_wallet, p_amount bigint, p_lots bigint[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_found bigint;
BEGIN
    IF p_wallet.owed > 0 THEN
        RAISE EXCEPTION 'credits are owed' USING ERRCODE = 'CR008', DETAIL = p_wallet.owed;
    END IF;
    SELECT coalesce(sum(remaining), 0) INTO v_found
        FROM credits_lot WHERE wallet_id = p_wallet.id AND id = ANY (p_lots);
    IF v_found < p_amount THEN
        RAISE EXCEPTION 'not enough to give' USING ERRCODE = 'CR017', DETAIL = v_found;
    END IF;
END $$;

-- As `credits_send`, but of what may be given away, or (`p_of`) of what one grant brought alone.
CREATE FUNCTION credits_give(
    p_wallet bigint, p_amount bigint, p_key text, p_note text, p_actor bigint, p_of text,
    p_age interval, p_regift boolean, p_except text[]
) RETURNS credits_entry LANGUAGE plpgsql AS $$
DECLARE
    v_wallet credits_wallet := credits_lock(p_wallet);
    v_time timestamptz := clock_timestamp();
    v_entry credits_entry := credits_replay(p_wallet, p_key, 'gift_sent', -p_amount);
    v_lot credits_lot;
    v_lots bigint[];
BEGIN
    IF v_entry.id IS NOT NULL THEN
        RETURN v_entry;
    END IF;
    v_wallet := credits_settle(v_wallet, v_time);
    IF p_of IS NULL THEN
        v_lots := ARRAY(SELECT id FROM credits_giftable(p_wallet, p_age, p_regift, p_except));
    ELSE
        v_lot := credits_lot_of(p_wallet, p_of);
        v_lots := credits_own(p_wallet, credits_roots(p_wallet, v_lot.entry_id));
    END IF;
    PERFORM credits_check_gift(v_wallet, p_amount, v_lots);
    RETURN credits_leave(
        v_wallet, 'gift_sent', p_amount, v_lots, p_key, NULL, p_note, p_actor);
END $$;

-- Credits come out of escrow into a locked and settled wallet; each of the lots that were drawn on goes
-- on with its terms, its part of the cost, and where it began.
CREATE FUNCTION credits_arrive(
    p_wallet credits_wallet, p_kind text, p_from bigint, p_sent bigint, p_amount bigint, p_key text,
    p_about bigint, p_note text, p_actor bigint
) RETURNS credits_entry LANGUAGE plpgsql AS $$
DECLARE
    v_entry credits_entry;
BEGIN
    PERFORM credits_check_room(p_wallet, p_amount);
    v_entry := credits_book(
        p_wallet.id, p_kind, 'escrow', p_amount, 0, p_key, p_about, p_note, p_actor);
    UPDATE credits_transfer SET to_wallet_id = p_wallet.id, to_entry_id = v_entry.id
        WHERE wallet_id = p_from AND entry_id = p_sent;
    INSERT INTO credits_lot
        (wallet_id, entry_id, amount, remaining, held, revoked, category, priority, expires_at, paid,
         origin_wallet_id, origin_lot_id)
    SELECT p_wallet.id, v_entry.id, d.amount, d.amount, 0, 0, l.category, l.priority, l.expires_at,
           d.paid, coalesce(l.origin_wallet_id, l.wallet_id), coalesce(l.origin_lot_id, l.id)
        FROM credits_draw d JOIN credits_lot l ON l.wallet_id = d.wallet_id AND l.id = d.lot_id
        WHERE d.wallet_id = p_from AND d.entry_id = p_sent
        ORDER BY l.priority, l.expires_at, l.category DESC, l.id;
    RETURN v_entry;
END $$;

-- As in 0002_verbs.sql, but both wallets are locked, in the one order.
CREATE OR REPLACE FUNCTION credits_receive(
    p_wallet bigint, p_kind text, p_from bigint, p_sent bigint, p_key text, p_note text,
    p_actor bigint
) RETURNS credits_entry LANGUAGE plpgsql AS $$
DECLARE
    v_transfer credits_transfer;
    v_wallet credits_wallet;
    v_entry credits_entry;
    v_time timestamptz;
BEGIN
    PERFORM credits_lock_all(ARRAY[p_wallet, p_from]);
    SELECT * INTO v_transfer FROM credits_transfer WHERE wallet_id = p_from AND entry_id = p_sent;
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
    v_entry := credits_arrive(
        credits_settle(v_wallet, v_time), p_kind, p_from, p_sent, v_transfer.amount, p_key, NULL,
        p_note, p_actor);
    -- The time of some may have run out on the way.
    v_wallet := credits_settle_again(p_wallet, v_time);
    PERFORM credits_repay(p_wallet, v_wallet.owed, v_entry.id::text, v_entry.id);
    RETURN v_entry;
END $$;

-- Of what one grant brought, to many wallets: each line as if it were sent and received, under its key on
-- both sides; one whose wallet is NULL is sent alone. All or nothing. Answers each line's entry in the
-- sender's wallet, in the order of the lines, in which they are booked as well.
CREATE FUNCTION credits_deliver(
    p_wallet bigint, p_of text, p_to bigint[], p_amounts bigint[], p_keys text[], p_note text,
    p_actor bigint
) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    v_wallet credits_wallet;
    v_taker credits_wallet;
    v_time timestamptz;
    v_lot credits_lot;
    v_roots bigint[];
    v_lots bigint[];
    v_entry credits_entry;
    v_arrived credits_entry;
    is_new boolean;
    v_sent bigint[] := '{}';
BEGIN
    PERFORM credits_lock_all(array_remove(p_to, NULL) || p_wallet);
    v_time := clock_timestamp();
    v_wallet := credits_settle(credits_lock(p_wallet), v_time);
    v_lot := credits_lot_of(p_wallet, p_of);
    v_roots := credits_roots(p_wallet, v_lot.entry_id);
    FOR v_line IN 1 .. cardinality(p_to) LOOP
        v_entry := credits_replay(p_wallet, p_keys[v_line], 'gift_sent', -p_amounts[v_line]);
        is_new := v_entry.id IS NULL;
        IF NOT is_new THEN
            -- What was sent alone may have arrived anywhere by now.
            IF p_to[v_line] IS NOT NULL AND NOT EXISTS (
                SELECT FROM credits_transfer
                WHERE wallet_id = p_wallet AND entry_id = v_entry.id AND to_wallet_id = p_to[v_line]
            ) THEN
                RAISE EXCEPTION 'key used with other inputs' USING ERRCODE = 'CR002';
            END IF;
        ELSE
            v_lots := credits_own(p_wallet, v_roots);
            PERFORM credits_check_gift(v_wallet, p_amounts[v_line], v_lots);
            v_entry := credits_leave(
                v_wallet, 'gift_sent', p_amounts[v_line], v_lots, p_keys[v_line], NULL, p_note, p_actor);
        END IF;
        v_sent := v_sent || v_entry.id;
        IF is_new AND p_to[v_line] IS NOT NULL THEN
            v_taker := credits_settle(credits_lock(p_to[v_line]), v_time);
            v_arrived := credits_arrive(
                v_taker, CASE WHEN v_taker.id = p_wallet THEN 'gift_returned' ELSE 'gift_received' END,
                p_wallet, v_entry.id, p_amounts[v_line], p_keys[v_line] || CASE v_taker.id
                    WHEN p_wallet THEN ':back' ELSE '' END, NULL, p_note, p_actor);
            PERFORM credits_repay(v_taker.id, v_taker.owed, v_arrived.id::text, v_arrived.id);
        END IF;
    END LOOP;
    RETURN v_sent;
END $$;

-- Lock a wallet and, with it, all that have something of one of its grants or have sent it on. Who that
-- is shows only under the lock: so whenever it turns out to be more, all are let go and locked anew, in
-- order (what an exception ends gives its locks back).
CREATE FUNCTION credits_lock_with_gifts(p_wallet bigint, p_of text) RETURNS bigint[]
LANGUAGE plpgsql AS $$
DECLARE
    v_locked bigint[] := ARRAY[p_wallet];
    v_all bigint[];
    v_lot credits_lot;
BEGIN
    LOOP
        BEGIN
            PERFORM credits_lock_all(v_locked);
            v_lot := credits_lot_of(p_wallet, p_of);
            v_all := ARRAY(
                SELECT wallet_id FROM credits_given(p_wallet, credits_roots(p_wallet, v_lot.entry_id))
                WHERE is_underway OR remaining + held > 0);
            EXIT WHEN v_all <@ v_locked;
            RAISE EXCEPTION 'more wallets' USING ERRCODE = 'CR099';
        EXCEPTION WHEN SQLSTATE 'CR099' THEN
            v_locked := v_locked || v_all;
        END;
    END LOOP;
    RETURN v_locked;
END $$;

-- Where the credits are that were given of some lots: in lots of others' wallets, and on their way (there
-- `id` is the entry that sent them).
CREATE FUNCTION credits_given(p_wallet bigint, p_roots bigint[])
RETURNS TABLE (is_underway boolean, wallet_id bigint, id bigint, remaining bigint, held bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH family AS (
        SELECT wallet_id, id, remaining, held FROM credits_lot
            WHERE wallet_id = p_wallet AND id = ANY (p_roots)
        UNION ALL
        SELECT wallet_id, id, remaining, held FROM credits_lot
            WHERE origin_wallet_id = p_wallet AND origin_lot_id = ANY (p_roots)
    )
    SELECT false, wallet_id, id, remaining, held FROM family WHERE wallet_id <> p_wallet
    UNION ALL
    -- By what is on its way, which is little, and not by what was drawn of a lot.
    SELECT true, t.wallet_id, t.entry_id, sum(d.amount)::bigint, 0::bigint
    FROM (SELECT DISTINCT wallet_id FROM family) AS senders
        JOIN credits_transfer t ON t.wallet_id = senders.wallet_id AND t.to_wallet_id IS NULL
        JOIN credits_draw d ON d.wallet_id = t.wallet_id AND d.entry_id = t.entry_id
        JOIN family f ON f.wallet_id = d.wallet_id AND f.id = d.lot_id
    GROUP BY t.wallet_id, t.entry_id;
END $$;

-- Fetch back into a wallet what was given of a grant, until its own lots have `p_amount` or nothing is
-- left: gifts on their way as a whole, the latest first, and then what there is in others' wallets, the
-- latest first. All of them are locked and settled. Nothing is repaid here: it is for this clawback.
CREATE FUNCTION credits_recall(
    p_wallet bigint, p_grant bigint, p_amount bigint, p_time timestamptz, p_note text, p_actor bigint
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_roots bigint[] := credits_roots(p_wallet, p_grant);
    v_given record;
    v_lot credits_lot;
    v_entry credits_entry;
    v_part bigint;
    v_coming bigint := 0;
    v_short bigint;
    v_owing bigint[] := '{}';
    v_wallet credits_wallet;
BEGIN
    IF p_amount <= credits_left_of(p_wallet, v_roots) THEN
        RETURN; -- mostly
    END IF;
    FOR v_given IN
        SELECT g.wallet_id, g.id, t.amount FROM credits_given(p_wallet, v_roots) AS g
            JOIN credits_transfer t ON t.wallet_id = g.wallet_id AND t.entry_id = g.id
        WHERE g.is_underway ORDER BY g.id DESC
    LOOP
        EXIT WHEN p_amount <= credits_left_of(p_wallet, v_roots) + v_coming;
        v_entry := credits_arrive(
            credits_lock(v_given.wallet_id), 'gift_returned', v_given.wallet_id, v_given.id,
            v_given.amount, 'recall:' || v_given.id,
            CASE v_given.wallet_id WHEN p_wallet THEN p_grant END, p_note, p_actor);
        PERFORM credits_settle_again(v_given.wallet_id, p_time);
        IF v_given.wallet_id <> p_wallet THEN
            v_owing := v_owing || v_given.wallet_id;
            SELECT v_coming + coalesce(sum(remaining), 0) INTO v_coming FROM credits_lot
                WHERE wallet_id = v_given.wallet_id AND entry_id = v_entry.id
                    AND origin_wallet_id = p_wallet AND origin_lot_id = ANY (v_roots);
        END IF;
    END LOOP;
    v_short := p_amount - credits_left_of(p_wallet, v_roots);
    FOR v_lot IN
        SELECT * FROM credits_lot
        WHERE origin_wallet_id = p_wallet AND origin_lot_id = ANY (v_roots)
            AND wallet_id <> p_wallet AND is_open
        ORDER BY id DESC
    LOOP
        EXIT WHEN v_short <= 0;
        v_part := least(v_lot.remaining, v_short);
        v_short := v_short - v_part;
        -- What was drawn so far tells it from what was fetched of the same lot before.
        v_entry := credits_leave(
            credits_lock(v_lot.wallet_id), 'gift_recalled', v_part, ARRAY[v_lot.id],
            format('recall:%s:%s', v_lot.id, v_lot.amount - v_lot.remaining - v_lot.held),
            v_lot.entry_id, p_note, p_actor);
        PERFORM credits_arrive(
            credits_lock(p_wallet), 'gift_returned', v_lot.wallet_id, v_entry.id, v_part,
            'recall:' || v_entry.id, p_grant, p_note, p_actor);
    END LOOP;
    -- What came back to others as a whole, and is more than was claimed, repays what they owe.
    FOR v_wallet IN SELECT * FROM credits_wallet WHERE id = ANY (v_owing) LOOP
        PERFORM credits_repay(v_wallet.id, v_wallet.owed, 'recall:' || v_entry.id, NULL);
    END LOOP;
END $$;

-- What a grant's own lots have left in its wallet.
CREATE FUNCTION credits_left_of(p_wallet bigint, p_roots bigint[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_own bigint[] := credits_own(p_wallet, p_roots); -- once, and not for each row
BEGIN
    RETURN coalesce(sum(remaining), 0) FROM credits_lot
        WHERE wallet_id = p_wallet AND id = ANY (v_own);
END $$;

-- As in 0011_spend_on_debt.sql, but first of all what was given of the grant is fetched back, as far as
-- its own lots fall short. The notes of the entries that do so are not the clawback's.
DROP FUNCTION credits_revoke(bigint, text, bigint, text, text, text, bigint);
CREATE FUNCTION credits_revoke(
    p_wallet bigint, p_kind text, p_amount bigint, p_key text, p_of text, p_note text,
    p_actor bigint, p_recall_note text DEFAULT ''
) RETURNS credits_entry LANGUAGE plpgsql AS $$
DECLARE
    v_locked bigint[] := credits_lock_with_gifts(p_wallet, p_of);
    v_wallet credits_wallet;
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
    PERFORM credits_settle(credits_lock(id), v_time) FROM unnest(v_locked) AS id;
    PERFORM credits_recall(p_wallet, v_lot.entry_id, p_amount, v_time, p_recall_note, p_actor);
    SELECT * INTO v_wallet FROM credits_wallet WHERE id = p_wallet;
    v_entry := credits_take_back(
        p_wallet, p_kind, p_amount, true, p_key, v_lot.entry_id, p_note, p_actor);
    UPDATE credits_lot SET revoked = revoked + p_amount WHERE wallet_id = p_wallet AND id = v_lot.id;
    -- A gift comes back as a whole: what is more than was claimed repays what was owed before.
    PERFORM credits_repay(p_wallet, v_wallet.owed, v_entry.id::text, NULL);
    RETURN v_entry;
END $$;

-- As in 0011_spend_on_debt.sql, but what came back of what was given of an entry is that entry's as well;
-- and where that is enough, as it mostly is, no other lot is looked at.
CREATE OR REPLACE FUNCTION credits_take_back(
    p_wallet bigint, p_kind text, p_amount bigint, p_adds_debt boolean, p_key text, p_about bigint,
    p_note text, p_actor bigint
) RETURNS credits_entry LANGUAGE plpgsql AS $$
DECLARE
    v_entry credits_entry;
    v_lot credits_lot;
    v_own bigint[];
    v_found bigint;
    v_part bigint;
BEGIN
    IF p_adds_debt THEN
        v_own := credits_own(p_wallet, credits_roots(p_wallet, p_about));
    ELSE
        v_own := ARRAY(SELECT id FROM credits_lot WHERE wallet_id = p_wallet AND entry_id = p_about);
    END IF;
    SELECT least(coalesce(sum(remaining), 0), p_amount) INTO v_found FROM credits_lot
        WHERE wallet_id = p_wallet AND id = ANY (v_own);
    IF v_found < p_amount THEN
        SELECT least(v_found + coalesce(sum(remaining), 0), p_amount) INTO v_found FROM credits_lot
            WHERE wallet_id = p_wallet AND is_open AND category = 'paid' AND id <> ALL (v_own);
    END IF;
    IF v_found = 0 AND NOT p_adds_debt THEN
        RETURN NULL;
    END IF;
    v_entry := credits_book(
        p_wallet, p_kind, CASE p_kind WHEN 'spend_repaid' THEN 'spent' ELSE 'revoked' END, -v_found,
        CASE WHEN p_adds_debt THEN p_amount - v_found ELSE -v_found END,
        p_key, p_about, p_note, p_actor);
    FOR v_lot IN
        SELECT * FROM credits_lot WHERE wallet_id = p_wallet AND id = ANY (v_own) AND remaining > 0
        ORDER BY priority, expires_at, category DESC, id
    LOOP
        EXIT WHEN v_found = 0;
        v_part := least(v_found, v_lot.remaining);
        PERFORM credits_draw_on(v_lot, v_entry.id, v_part);
        v_found := v_found - v_part;
    END LOOP;
    IF v_found = 0 THEN
        RETURN v_entry;
    END IF;
    FOR v_lot IN
        SELECT * FROM credits_lot
        WHERE wallet_id = p_wallet AND is_open AND category = 'paid' AND id <> ALL (v_own)
        ORDER BY priority, expires_at, category DESC, id
    LOOP
        v_part := least(v_found, v_lot.remaining);
        PERFORM credits_draw_on(v_lot, v_entry.id, v_part);
        v_found := v_found - v_part;
        EXIT WHEN v_found = 0;
    END LOOP;
    RETURN v_entry;
END $$;
