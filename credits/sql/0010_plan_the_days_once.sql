-- The balance of each day, and what came and went on it: `statement.daily_balances`. In PL/pgSQL,
-- which plans it once for a connection (as 0009).
--
-- A day's last entry is one probe of the index on time. What was used is never added up: it is what
-- the balance is short of by all other entries, and those are few and have an index of their own,
-- which is looked at for one kind at a time. Lots that have expired and are not booked yet have no
-- entry that says so.
CREATE FUNCTION credits_days(
    p_wallet bigint, p_days date[], p_ends timestamptz[], p_bought text[], p_returned text[],
    p_others text[]
) RETURNS TABLE (
    day date, balance bigint, bought bigint, used bigint, paid bigint, returned bigint
) LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH closing AS (
        SELECT days.day, days.ends, entry.id, coalesce(entry.balance, 0) AS balance
        FROM unnest(p_days, p_ends) AS days (day, ends)
        LEFT JOIN LATERAL (
            SELECT id, balance FROM credits_entry
            WHERE wallet_id = p_wallet AND created_at < days.ends
            ORDER BY created_at DESC, id DESC LIMIT 1
        ) AS entry ON true
    ), days AS (
        SELECT day, ends, balance, id AS last_id,
               coalesce(lag(id) OVER (ORDER BY day), 0) AS before_id,
               lag(balance) OVER (ORDER BY day) AS opening
        FROM closing
    ), others AS MATERIALIZED (
        SELECT entry.id, entry.amount, entry.bought, lot.paid,
               CASE WHEN kinds.kind = ANY (p_returned) THEN -entry.amount END AS returned
        FROM unnest(p_others) AS kinds (kind)
        CROSS JOIN LATERAL (
            SELECT id, amount, CASE WHEN kind = ANY (p_bought) THEN amount END AS bought
            FROM credits_entry
            WHERE wallet_id = p_wallet AND kind = kinds.kind AND kind <> 'spend'
                AND id > coalesce((SELECT id FROM closing ORDER BY day LIMIT 1), 0)
            OFFSET 0  -- keeps the planner from making one search of it, through the spends
        ) AS entry
        LEFT JOIN credits_lot AS lot
            ON lot.wallet_id = p_wallet AND lot.entry_id = entry.id AND entry.bought IS NOT NULL
    )
    SELECT days.day,
           days.balance - coalesce((
               SELECT sum(remaining) FROM credits_lot
               WHERE wallet_id = p_wallet AND is_open AND expires_at IS NOT NULL
                   AND expires_at <= least(days.ends, statement_timestamp())), 0)::bigint,
           coalesce(sum(others.bought), 0)::bigint,
           (days.opening + coalesce(sum(others.amount), 0) - days.balance)::bigint,
           coalesce(sum(others.paid), 0)::bigint,
           coalesce(sum(others.returned), 0)::bigint
    FROM days LEFT JOIN others ON others.id > days.before_id AND others.id <= days.last_id
    WHERE days.opening IS NOT NULL
    GROUP BY days.day, days.ends, days.balance, days.opening
    ORDER BY days.day;
END $$;
