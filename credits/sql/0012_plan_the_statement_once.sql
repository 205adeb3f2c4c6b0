-- What `statement.py` looks up besides the entries, in PL/pgSQL, which plans it once for a connection
-- (as 0009): to plan it took longer than all the rest of a page of the history.

-- Cents that were paid for what an entry brought.
CREATE FUNCTION credits_paid_for(p_wallet bigint, p_entry bigint)
RETURNS bigint LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT paid FROM credits_lot WHERE wallet_id = p_wallet AND entry_id = p_entry);
END $$;

-- What expires next: the first moments, with what expires then, and with all that ever does.
CREATE FUNCTION credits_expiring(p_wallet bigint, p_moments int)
RETURNS TABLE (at timestamptz, credits bigint, all_credits bigint) LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY
    SELECT expires_at, sum(remaining)::bigint, (sum(sum(remaining)) OVER ())::bigint
    FROM credits_lot
    WHERE wallet_id = p_wallet AND is_open AND expires_at IS NOT NULL
        AND expires_at > statement_timestamp()
    GROUP BY expires_at ORDER BY expires_at LIMIT p_moments;
END $$;
