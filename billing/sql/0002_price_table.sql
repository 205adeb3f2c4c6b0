-- The price table as a whole, checked when a transaction commits: several rows may change in it.
CREATE FUNCTION billing_check_price_table() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- One check at a time: each must see what the one before it committed.
    PERFORM pg_advisory_xact_lock('billing_pricetier'::regclass::oid::bigint);
    IF (SELECT min(min_credits) FROM billing_pricetier) IS DISTINCT FROM 10 THEN
        RAISE EXCEPTION 'The first price tier must start at 10 credits'
            USING ERRCODE = 'check_violation';
    END IF;
    IF EXISTS (
        SELECT FROM (
            SELECT unit_price_e4 > lag(unit_price_e4) OVER (ORDER BY min_credits) AS rises
            FROM billing_pricetier
        ) AS tier WHERE rises
    ) THEN
        RAISE EXCEPTION 'A credit must not cost more in a higher price tier'
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER billing_price_table AFTER INSERT OR UPDATE OR DELETE ON billing_pricetier
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing_check_price_table();
