-- As in 0002_verbs.sql, but what a restoral gave back of an entry is that entry's as well. Else a
-- promotional grant that was clawed back, restored and clawed back again would be owed, while what was
-- restored of it lay there: only paid lots make up for others.
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
        p_wallet, p_kind, 'revoked', -v_found,
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
