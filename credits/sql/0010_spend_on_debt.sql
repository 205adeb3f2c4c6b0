-- Spending more than there is, up to a limit (docs/decisions/0029-spending-on-debt.md).

-- The role of docs/database-role.sql, where there is one, may change what is owed, and so the part of
-- it that was spent.
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_roles WHERE rolname = 'dynamic_credits_site'
            AND has_column_privilege(oid, 'credits_wallet', 'owed', 'UPDATE')
    ) THEN
        GRANT UPDATE (overspent) ON credits_wallet TO dynamic_credits_site;
    END IF;
END $$;

-- As in 0002_keys_and_guards.sql, but a spend may owe, and be repaid.
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

-- As in 0002_verbs.sql, but what is owed to the account of what was spent is counted for itself.
CREATE OR REPLACE FUNCTION credits_book(
    p_wallet bigint, p_kind text, p_account text, p_amount bigint, p_owed bigint, p_key text,
    p_about bigint, p_note text, p_actor bigint
) RETURNS credits_entry LANGUAGE plpgsql AS $$
DECLARE
    v_entry credits_entry;
    v_balance bigint;
BEGIN
    UPDATE credits_wallet SET balance = balance + p_amount, owed = owed + p_owed,
            overspent = overspent + CASE p_account WHEN 'spent' THEN p_owed ELSE 0 END
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

-- As in 0002_verbs.sql, but what isn't there may be owed, as long as no more than `p_owe_up_to` is owed
-- then in all. How it was split is no part of what a key stands for, and neither is the limit.
DROP FUNCTION credits_take(bigint, text, text, bigint, text, text, bigint);
CREATE FUNCTION credits_take(
    p_wallet bigint, p_kind text, p_account text, p_amount bigint, p_key text, p_note text,
    p_actor bigint, p_owe_up_to bigint DEFAULT 0
) RETURNS credits_entry LANGUAGE plpgsql AS $$
DECLARE
    v_wallet credits_wallet := credits_lock(p_wallet);
    v_time timestamptz := clock_timestamp();
    v_entry credits_entry := credits_replay(p_wallet, p_key, p_kind, -p_amount);
    v_missing bigint := 0;
BEGIN
    IF v_entry.id IS NOT NULL THEN
        RETURN v_entry;
    END IF;
    v_wallet := credits_settle(v_wallet, v_time);
    IF v_wallet.balance - v_wallet.held < p_amount THEN
        v_missing := p_amount - (v_wallet.balance - v_wallet.held);
        IF v_wallet.owed + v_missing > p_owe_up_to THEN
            RAISE EXCEPTION 'not enough credits' USING
                ERRCODE = 'CR003', DETAIL = v_wallet.balance - v_wallet.held;
        END IF;
    END IF;
    v_entry := credits_book(
        p_wallet, p_kind, p_account, v_missing - p_amount, v_missing, p_key, NULL, p_note, p_actor);
    PERFORM credits_draw_open(p_wallet, v_entry.id, p_amount - v_missing);
    RETURN v_entry;
END $$;

-- As in 0004_take_back_what_came_back.sql, but for both kinds of repayment: what was owed for spending
-- is spent then.
CREATE OR REPLACE FUNCTION credits_take_back(
    p_wallet bigint, p_kind text, p_amount bigint, p_adds_debt boolean, p_key text, p_about bigint,
    p_note text, p_actor bigint
) RETURNS credits_entry LANGUAGE plpgsql AS $$
DECLARE
    v_entry credits_entry;
    v_lot credits_lot;
    v_own bigint[] := ARRAY[p_about];
    v_found bigint;
    v_part bigint;
BEGIN
    IF p_adds_debt THEN
        SELECT v_own || coalesce(array_agg(id), '{}') INTO v_own FROM credits_entry
            WHERE wallet_id = p_wallet AND kind = 'restoral' AND about_id = p_about;
    END IF;
    SELECT least(coalesce(sum(remaining), 0), p_amount) INTO v_found FROM credits_lot
        WHERE wallet_id = p_wallet AND is_open AND (entry_id = ANY (v_own) OR category = 'paid');
    IF v_found = 0 AND NOT p_adds_debt THEN
        RETURN NULL;
    END IF;
    v_entry := credits_book(
        p_wallet, p_kind, CASE p_kind WHEN 'spend_repaid' THEN 'spent' ELSE 'revoked' END, -v_found,
        CASE WHEN p_adds_debt THEN p_amount - v_found ELSE -v_found END,
        p_key, p_about, p_note, p_actor);
    IF v_found = 0 THEN
        RETURN v_entry;
    END IF;
    FOR v_lot IN
        SELECT * FROM credits_lot
        WHERE wallet_id = p_wallet AND is_open AND (entry_id = ANY (v_own) OR category = 'paid')
        ORDER BY (entry_id = ANY (v_own)) DESC NULLS LAST, priority, expires_at, category DESC, id
    LOOP
        v_part := least(v_found, v_lot.remaining);
        PERFORM credits_draw_on(v_lot, v_entry.id, v_part);
        v_found := v_found - v_part;
        EXIT WHEN v_found = 0;
    END LOOP;
    RETURN v_entry;
END $$;

-- As in 0002_verbs.sql, but in two parts: first what clawbacks left owed, then what was spent.
CREATE OR REPLACE FUNCTION credits_repay(
    p_wallet bigint, p_owed bigint, p_key text, p_arrived bigint
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_overspent bigint;
BEGIN
    IF p_owed = 0 THEN
        RETURN;
    END IF;
    SELECT overspent INTO v_overspent FROM credits_wallet WHERE id = p_wallet;
    IF p_owed > v_overspent THEN
        PERFORM credits_take_back(
            p_wallet, 'repayment', p_owed - v_overspent, false, 'repayment:' || p_key, p_arrived, '',
            NULL);
    END IF;
    IF v_overspent > 0 THEN
        PERFORM credits_take_back(
            p_wallet, 'spend_repaid', v_overspent, false, 'repayment:spent:' || p_key, p_arrived, '',
            NULL);
    END IF;
END $$;

-- What a user can spend at this moment, by until when and of what category, as if all were settled: it
-- adds up to what `credits_standing` says is available.
CREATE FUNCTION credits_spendable(p_user bigint)
RETURNS TABLE (expires_at timestamptz, category text, credits bigint) LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH wallet AS (
        SELECT * FROM credits_wallet WHERE user_id = p_user
    ), part AS (
        SELECT l.id, l.priority, l.expires_at, l.category, l.remaining AS credits
        FROM wallet w JOIN credits_lot l ON l.wallet_id = w.id
        WHERE l.is_open
        UNION ALL
        -- Free again, since the hold has lapsed.
        SELECT l.id, l.priority, l.expires_at, l.category, d.amount
        FROM wallet w
            JOIN credits_hold h ON h.wallet_id = w.id AND h.status = 'open'
                AND h.expires_at <= statement_timestamp()
            JOIN credits_holddraw d ON d.wallet_id = h.wallet_id AND d.hold_id = h.id
            JOIN credits_lot l ON l.wallet_id = d.wallet_id AND l.id = d.lot_id
        WHERE w.held > 0
    ), kept AS (
        -- Who owes has no paid credits but those, and they repay it first.
        SELECT p.expires_at, p.category, least(p.credits, sum(p.credits) OVER (
                   PARTITION BY p.category ORDER BY p.priority, p.expires_at, p.id
                   ROWS UNBOUNDED PRECEDING
               ) - CASE p.category WHEN 'paid' THEN w.owed ELSE 0 END) AS credits
        FROM wallet w CROSS JOIN part p
        WHERE p.expires_at IS NULL OR p.expires_at > statement_timestamp()
    )
    SELECT k.expires_at, k.category::text, sum(k.credits)::bigint
    FROM kept k WHERE k.credits > 0
    GROUP BY k.expires_at, k.category;
END $$;
