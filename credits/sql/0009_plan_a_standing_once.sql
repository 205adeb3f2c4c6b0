-- As in 0002_verbs.sql, but in PL/pgSQL, which plans it once for a connection: to plan it took longer
-- than to find the answer, and every page of somebody who is signed in asks for it.
CREATE OR REPLACE FUNCTION credits_standing(p_user bigint)
RETURNS TABLE (balance bigint, held bigint, owed bigint) LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
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
    FROM wallet w, expired e, lapsed l;
END $$;
