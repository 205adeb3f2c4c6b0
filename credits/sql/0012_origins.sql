-- Where credits began that had come out of escrow before lots knew it: each of a transfer's lots is a part
-- of the one that was drawn on in its place. In the order of arrival, so that what was sent on is known
-- by then.
DO $$
DECLARE
    v_transfer credits_transfer;
BEGIN
    FOR v_transfer IN
        SELECT * FROM credits_transfer WHERE to_entry_id IS NOT NULL ORDER BY to_entry_id
    LOOP
        WITH drawn AS (
            SELECT coalesce(l.origin_wallet_id, l.wallet_id) AS wallet_id,
                   coalesce(l.origin_lot_id, l.id) AS lot_id,
                   row_number() OVER (ORDER BY l.priority, l.expires_at, l.category DESC, l.id) AS place
            FROM credits_draw d JOIN credits_lot l ON l.wallet_id = d.wallet_id AND l.id = d.lot_id
            WHERE d.wallet_id = v_transfer.wallet_id AND d.entry_id = v_transfer.entry_id
        ), arrived AS (
            SELECT id, row_number() OVER (ORDER BY id) AS place FROM credits_lot
            WHERE wallet_id = v_transfer.to_wallet_id AND entry_id = v_transfer.to_entry_id
        )
        UPDATE credits_lot AS lot
            SET origin_wallet_id = drawn.wallet_id, origin_lot_id = drawn.lot_id
            FROM drawn JOIN arrived USING (place)
            WHERE lot.wallet_id = v_transfer.to_wallet_id AND lot.id = arrived.id;
    END LOOP;
END $$;
