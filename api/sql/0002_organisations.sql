-- Credits of organisations. Besides what `0001_once.sql` names, raises
--   AP003 the user is no member of such an organisation
--   AP004 the member's limit leaves less than was asked for

-- As in 0001_once.sql, but an organisation's account, which is never active, is there until it is closed.
CREATE OR REPLACE FUNCTION api_user(p_owner bigint, p_id bigint, p_email text) RETURNS bigint
LANGUAGE plpgsql STABLE SET enable_seqscan = off AS $$
DECLARE
    v_user bigint := p_owner;
BEGIN
    IF p_id IS NOT NULL THEN
        SELECT id INTO v_user FROM accounts_user WHERE id = p_id
            AND (is_active OR is_organisation AND closed_at IS NULL);
    ELSIF p_email IS NOT NULL THEN
        SELECT id INTO v_user FROM accounts_user WHERE lower(email) = lower(p_email) AND is_active;
    END IF;
    RETURN CASE WHEN p_owner IS NULL OR v_user = p_owner THEN v_user END;
END $$;

-- As in 0001_once.sql, but a member may spend an organisation's credits. While a new version is
-- deployed, the one before calls it without the last two.
DROP FUNCTION api_spend(text, text, bytea, bigint, bigint, text, bigint, text, bigint, bigint, date);
CREATE FUNCTION api_spend(
    p_scope text, p_key text, p_fingerprint bytea, p_owner bigint, p_id bigint, p_email text,
    p_amount bigint, p_note text, p_api_key bigint, p_limit bigint, p_begins_on date,
    p_organisation bigint DEFAULT NULL, p_today date DEFAULT NULL
) RETURNS api_answer LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    v_ledger_key text := format('api:%s:%s', p_scope, p_key);
    v_user bigint := api_user(p_owner, p_id, p_email);
    v_is_member boolean := coalesce(p_organisation <> v_user, false);
    v_is_counted boolean := true;
    v_answer api_answer;
    v_wallet bigint;
    v_entry credits_entry;
    v_available bigint;
BEGIN
    -- Also where the account is closed by now: what was answered stays answered.
    SELECT * INTO v_answer FROM api_claim(p_scope, p_key);
    IF FOUND THEN
        RETURN v_answer;
    END IF;
    IF v_user IS NULL THEN
        RAISE EXCEPTION 'no such user' USING ERRCODE = 'AP001';
    END IF;
    IF v_is_member AND NOT EXISTS (
        SELECT FROM accounts_membership WHERE organisation_id = p_organisation AND user_id = v_user)
    THEN
        RAISE EXCEPTION 'no such organisation' USING ERRCODE = 'AP003';
    -- An organisation may name itself, and a user is none.
    ELSIF p_organisation = v_user AND NOT EXISTS (
        SELECT FROM accounts_organisation WHERE account_id = v_user)
    THEN
        RAISE EXCEPTION 'no such organisation' USING ERRCODE = 'AP003';
    END IF;
    SELECT id INTO v_wallet FROM credits_wallet WHERE user_id = coalesce(p_organisation, v_user);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'not enough credits' USING ERRCODE = 'CR003', DETAIL = 0;
    END IF;
    -- The limits before the wallet, as everybody locks them. What the ledger has booked under this key
    -- and the API forgotten was counted then.
    IF (v_is_member OR p_limit IS NOT NULL)
        AND NOT EXISTS (SELECT FROM credits_entry WHERE wallet_id = v_wallet AND key = v_ledger_key)
    THEN
        IF v_is_member THEN
            v_is_counted := accounts_draw(p_organisation, v_user, p_today, p_amount);
            IF v_is_counted IS NULL THEN
                RAISE EXCEPTION 'no such organisation' USING ERRCODE = 'AP003';
            ELSIF NOT v_is_counted THEN
                RAISE EXCEPTION 'the member''s limit is reached' USING ERRCODE = 'AP004';
            END IF;
        END IF;
        IF p_limit IS NOT NULL
            AND NOT accounts_charge(p_api_key, p_begins_on, p_amount, p_limit)
        THEN
            RAISE EXCEPTION 'the limit is reached' USING ERRCODE = 'AP002';
        END IF;
    END IF;
    v_entry := credits_take(
        v_wallet, 'spend', 'spent', p_amount, v_ledger_key, p_note,
        CASE WHEN v_is_member THEN v_user ELSE p_owner END);
    SELECT balance - held INTO v_available FROM credits_wallet WHERE id = v_wallet;
    INSERT INTO api_answer (scope, key, fingerprint, status, body)
        VALUES (p_scope, p_key, p_fingerprint, 201,
                format('{"entry": %s, "available": %s}', api_entry(v_entry), v_available))
        RETURNING * INTO v_answer;
    RETURN v_answer;
END $$;
