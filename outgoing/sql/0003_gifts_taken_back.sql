-- As in 0002_tell.sql, but a gift may be taken back from who received it.
CREATE OR REPLACE FUNCTION outgoing_event_of(p_kind text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN p_kind IN ('purchase', 'renewal', 'promotion') THEN 'credits.granted'
        WHEN p_kind = 'spend' THEN 'credits.spent'
        WHEN p_kind = 'expiry' THEN 'credits.expired'
        WHEN p_kind IN ('refund', 'dispute', 'repayment', 'spend_repaid', 'gift_recalled')
            THEN 'credits.revoked'
        WHEN p_kind = 'restoral' THEN 'credits.restored'
        WHEN p_kind = 'adjustment' THEN 'credits.adjusted'
        WHEN p_kind = 'gift_sent' THEN 'credits.sent'
        WHEN p_kind IN ('gift_received', 'gift_returned') THEN 'credits.received'
        ELSE 'credits.' || p_kind -- a kind to come fails no booking
    END
$$;
