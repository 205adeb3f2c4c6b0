-- Messages are written in the transaction of what they tell: there is one if and only if there is the
-- fact. Docs: docs/decisions/0027-outgoing-webhooks.md.

-- A message as it is sent, and one delivery of it for each endpoint. The payload has the shape that
-- the Standard Webhooks specification recommends.
CREATE FUNCTION outgoing_keep(
    p_type text, p_user bigint, p_time timestamptz, p_data json, p_endpoints bigint[]
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_id text := 'msg_' || replace(gen_random_uuid()::text, '-', '');
BEGIN
    INSERT INTO outgoing_message (id, type, user_id, payload) VALUES (
        v_id, p_type, p_user,
        json_build_object(
            'type', p_type,
            'timestamp', to_char(p_time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            'data', p_data)::text);
    INSERT INTO outgoing_delivery (message_id, endpoint_id, status, tries, answer, error)
    SELECT v_id, id, 'waiting', 0, '', '' FROM unnest(p_endpoints) AS id;
    RETURN v_id;
END $$;

-- Tell whoever wants to know: answers the message's id, NULL where nobody does.
CREATE FUNCTION outgoing_tell(p_type text, p_user bigint, p_time timestamptz, p_data json)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_endpoints bigint[];
BEGIN
    SELECT array_agg(id) INTO v_endpoints FROM outgoing_endpoint
        WHERE is_enabled AND (events = '{}' OR p_type = ANY (events));
    IF v_endpoints IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN outgoing_keep(p_type, p_user, p_time, p_data, v_endpoints);
END $$;

-- What an entry of each kind is told as.
CREATE FUNCTION outgoing_event_of(p_kind text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN p_kind IN ('purchase', 'renewal', 'promotion') THEN 'credits.granted'
        WHEN p_kind = 'spend' THEN 'credits.spent'
        WHEN p_kind = 'expiry' THEN 'credits.expired'
        WHEN p_kind IN ('refund', 'dispute', 'repayment', 'spend_repaid') THEN 'credits.revoked'
        WHEN p_kind = 'restoral' THEN 'credits.restored'
        WHEN p_kind = 'adjustment' THEN 'credits.adjusted'
        WHEN p_kind = 'gift_sent' THEN 'credits.sent'
        WHEN p_kind IN ('gift_received', 'gift_returned') THEN 'credits.received'
        ELSE 'credits.' || p_kind -- a kind to come fails no booking
    END
$$;

CREATE FUNCTION outgoing_tell_entry() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_user bigint;
BEGIN
    -- All that it costs a booking in a shop without endpoints.
    IF NOT EXISTS (SELECT FROM outgoing_endpoint WHERE is_enabled) THEN
        RETURN NULL;
    END IF;
    SELECT user_id INTO v_user FROM credits_wallet WHERE id = NEW.wallet_id;
    PERFORM outgoing_tell(
        outgoing_event_of(NEW.kind), v_user, NEW.created_at,
        json_build_object(
            'user', v_user, 'entry', NEW.id, 'kind', NEW.kind, 'amount', NEW.amount,
            'owed', NEW.owed, 'balance', NEW.balance, 'key', NEW.key, 'note', NEW.note));
    -- The one entry that takes a balance from something to nothing is the crossing.
    IF NEW.balance = 0 AND NEW.amount < 0 THEN
        PERFORM outgoing_tell(
            'credits.depleted', v_user, NEW.created_at,
            json_build_object('user', v_user, 'entry', NEW.id, 'balance', 0));
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER outgoing_tell_entry AFTER INSERT ON credits_entry
    FOR EACH ROW EXECUTE FUNCTION outgoing_tell_entry();
